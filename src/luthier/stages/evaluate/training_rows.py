"""Two sceptics' systems made of training rows: the base shown three examples, and the nearest row's answer copied.

A gain over the base proves little where a few examples in the prompt would have done as well (``base_few_shot``), or
where held-out questions only repeat training rows (``copy``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from luthier.foundation.core.errors import EvalError
from luthier.foundation.core.hashing import sha256_json
from luthier.foundation.schema.rows import Message, Row
from luthier.instruments.text.encode import weigh_row
from luthier.instruments.text.nearest import find_nearest
from luthier.instruments.text.questions import Question, iterate_questions
from luthier.instruments.text.tokens import TextTokenizer
from luthier.stages.evaluate.told import SYSTEM_ROLES, find_instruction

NUM_SHOTS: Final = 3


def list_training_questions(rows: Iterable[Row], *, instructions: Collection[str]) -> tuple[Question, ...]:
    """Return the training rows' questions under one of the given system messages, in order of their ids.

    Raises:
        EvalError: E-EVA-011 when there are none.
    """
    questions = [q for row in rows if find_instruction(row) in instructions for q in iterate_questions(row)]
    if not questions:
        raise EvalError(
            "E-EVA-011",
            "no training row is of the questions' task",
            got="no answers in training rows under the questions' system message",
            allowed="training rows with the system message of the rows that are asked",
            fix="systems: [base, tuned]",
            field="evaluate.systems",
        )
    return tuple(sorted(questions, key=lambda question: question.id))


def pick_shots(questions: Sequence[Question], *, seed: int, wanted: int = NUM_SHOTS) -> tuple[Question, ...]:
    """Pick examples that show different kinds of answers, by seed; the order of the rows does not matter.

    Kinds are the tools that an answer calls, or none; the commonest kinds are shown first. Questions with the shortest
    history are preferred, so that an example is one exchange where there are such.
    """
    shortest = min(len(_strip_instruction(question)) for question in questions)
    kinds: dict[tuple[str, ...], list[Question]] = {}
    for question in sorted(questions, key=lambda one: sha256_json([seed, "few_shot", one.id])):
        if len(_strip_instruction(question)) == shortest:
            kinds.setdefault(tuple(call.function.name for call in question.reference.tool_calls), []).append(question)
    piles = [kinds[kind] for kind in sorted(kinds, key=lambda kind: (-len(kinds[kind]), kind))]
    rounds = max(len(pile) for pile in piles)
    return tuple([pile[turn] for turn in range(rounds) for pile in piles if turn < len(pile)][:wanted])


def show_shots(messages: Sequence[Message], shots: Sequence[Question]) -> tuple[Message, ...]:
    """Put examples as earlier turns after the question's own system message."""
    own = sum(1 for message in messages[:1] if message.role in SYSTEM_ROLES)
    shown = [turn for shot in shots for turn in (*_strip_instruction(shot), shot.reference)]
    return (*messages[:own], *shown, *messages[own:])


def copy_answers(asked: Sequence[Question], questions: Sequence[Question], tokenizer: TextTokenizer) -> dict[str, str]:
    """Answer each question with the answer of the training row whose last turn before it is nearest.

    Returns:
        Question id to the answer as a model would write it, its tool calls in the template's own form.
    """
    places = find_nearest([_last_turn(one) for one in asked], [_last_turn(one) for one in questions])
    return {one.id: write_answer(questions[place], tokenizer) for one, place in zip(asked, places, strict=True)}


def write_answer(question: Question, tokenizer: TextTokenizer) -> str:
    """Return a question's true answer as the chat template writes it, without the token that ends it."""
    messages = (*question.messages, question.reference.model_copy(update={"is_trained": None}))
    row = Row(id=question.id, messages=messages, tools=question.tools, origin=question.origin)
    weighted = weigh_row(row, tokenizer, train_on="last")
    ids = [int(token) for token in weighted.tokens.ids[weighted.weights_T > 0]]
    return tokenizer.decode([token for token in ids if token not in tokenizer.end_token_ids]).strip()


def _strip_instruction(question: Question) -> tuple[Message, ...]:
    own = sum(1 for message in question.messages[:1] if message.role in SYSTEM_ROLES)
    return question.messages[own:]


def _last_turn(question: Question) -> str:
    return question.messages[-1].text
