"""Questions: every assistant turn of a conversation, asked after the history as the row has it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from luthier.foundation.schema.rows import Message, Origin, Row
from luthier.instruments.text.encode import encode_prompt
from luthier.instruments.text.tokens import TextTokenizer


@dataclass(frozen=True, slots=True)
class Question:
    """One turn to be answered.

    Attributes:
        id: The row's id and the turn's number.
        row_id: The row's id.
        messages: The history before the turn.
        reference: The turn as the row has it.
        turn: Number of the turn among the row's assistant turns, from 0.
        message: Index of the turn among the row's messages.
        tools: Tool schemas in OpenAI form.
        group: The row's group, or its id: questions of one group are not independent.
        origin: File and line.
    """

    id: str
    row_id: str
    messages: tuple[Message, ...]
    reference: Message
    turn: int
    message: int
    tools: tuple[dict[str, Any], ...]
    group: str
    origin: Origin


def iterate_questions(row: Row) -> Iterator[Question]:
    """Yield the questions of a row in order.

    A greeting before any user message is no question, nor is a turn that the row marks as not trained: it is history.
    Rows that are no conversations have none.
    """
    messages = row.messages if row.kind == "conversation" else ()
    turn = -1
    for index, message in enumerate(messages):
        if message.role != "assistant":
            continue
        turn += 1
        is_asked = any(before.role in {"user", "tool"} for before in messages[:index])
        if is_asked and message.is_trained is not False:
            yield Question(
                id=f"{row.id}#{turn}",
                row_id=row.id,
                messages=messages[:index],
                reference=message,
                turn=turn,
                message=index,
                tools=row.tools,
                group=row.group or row.id,
                origin=row.origin,
            )


def find_prompt_mismatches(row: Row, tokenizer: TextTokenizer) -> tuple[int, ...]:
    """Find the turns whose prompt, as generation would show it, does not begin the row as training shows it.

    Templates that drop old thoughts, and answers whose first characters merge with the prompt's last token, make such
    turns; the model then answers after another text than it was trained on.

    Returns:
        Indices of messages.
    """
    template = tokenizer.chat_template
    if template is None or row.kind != "conversation":
        return ()
    whole = tokenizer.encode(template.render_text(row.messages, row.tools, origin=str(row.origin))).ids
    mismatches = []
    for question in iterate_questions(row):
        prompt = encode_prompt(question.messages, question.tools, tokenizer, origin=str(row.origin))
        if len(prompt) > len(whole) or not np.array_equal(prompt, whole[: len(prompt)]):
            mismatches.append(question.message)
    return tuple(mismatches)
