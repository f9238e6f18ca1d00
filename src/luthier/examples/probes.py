"""A fixed set of short prompts with answers, on which two forms of one model must say the same.

They fill up a run's own held-out prompts (DESIGN section 5) and are varied on purpose: questions, instructions,
rules in system prompts, dialogues, tool calls, code, a dozen scripts and emoji. Written for this project.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any, Final

from luthier.foundation.schema.rows import Message, Origin, Row

FILE_NAME: Final = "probes.jsonl"


@cache
def load_probes() -> tuple[Row, ...]:
    """Return the fixed probes in their fixed order; every one ends in an assistant's turn."""
    text = files("luthier.examples").joinpath(FILE_NAME).read_text(encoding="utf-8")
    return tuple(_make_row(json.loads(line), number) for number, line in enumerate(text.splitlines(), start=1))


def _make_row(record: dict[str, Any], number: int) -> Row:
    return Row(
        id=f"probe-{record['id']}",
        messages=tuple(Message.model_validate(message) for message in record["messages"]),
        tools=tuple(record.get("tools", ())),
        origin=Origin(file=FILE_NAME, line=number),
    )
