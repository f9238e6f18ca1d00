"""The base that is told the allowed answers: so that no gain comes from a base that never heard the question."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from luthier.foundation.core.errors import EvalError
from luthier.foundation.schema.rows import Message, Row
from luthier.instruments.text.questions import iterate_questions

MAX_ANSWERS: Final = 200
MAX_CHARACTERS: Final = 80
SYSTEM_ROLES: Final = frozenset({"system", "developer"})
INSTRUCTION: Final = "Answer with exactly one of these, and nothing else:"


def find_instruction(row: Row) -> str:
    """Return the row's system message, empty where it has none."""
    first = row.messages[0] if row.messages else None
    return first.text if first is not None and first.role in SYSTEM_ROLES else ""


def find_allowed_answers(rows: Iterable[Row], *, instructions: Collection[str] | None = None) -> tuple[str, ...]:
    """Return the distinct answers of the training rows, in order of the alphabet.

    Args:
        rows: Training rows.
        instructions: System messages of the questions: rows under another one are of another task, such as replayed
            general rows, and do not count. None counts all.

    Raises:
        EvalError: E-EVA-002 when they are many, long, or tool calls.
    """
    answers: set[str] = set()
    for row in rows:
        if instructions is not None and find_instruction(row) not in instructions:
            continue
        for question in iterate_questions(row):
            text = question.reference.text.strip()
            if question.reference.tool_calls or not text or len(text) > MAX_CHARACTERS:
                raise _refuse(f"{question.id}: {'a tool call' if question.reference.tool_calls else text!r}")
            answers.add(text)
            if len(answers) > MAX_ANSWERS:
                raise _refuse(f"more than {MAX_ANSWERS} different answers")
    if not answers:
        raise _refuse("no answers in training rows under the questions' system message")
    return tuple(sorted(answers))


def _refuse(got: str) -> EvalError:
    return EvalError(
        "E-EVA-002",
        "the base cannot be told the allowed answers: the training rows do not have a few short ones",
        got=got,
        allowed=f"up to {MAX_ANSWERS} different answers of up to {MAX_CHARACTERS} characters, no tool calls",
        fix="systems: [base, tuned]",
        field="evaluate.systems",
    )


def tell_answers(messages: Sequence[Message], answers: Sequence[str]) -> tuple[Message, ...]:
    """Append the allowed answers to the system message, or put one before the others."""
    told = "\n".join([INSTRUCTION, *(f"- {answer}" for answer in answers)])
    if messages and messages[0].role in SYSTEM_ROLES:
        first = messages[0].model_copy(update={"content": f"{messages[0].text}\n\n{told}"})
        return (first, *messages[1:])
    return (Message(role="system", content=told), *messages)
