"""Look at a file of rows as somebody would who is to write a recipe for it: form, columns, what the answers are."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

from luthier.foundation.schema.noun import Noun
from luthier.foundation.schema.rows import Message, Row, RowKind
from luthier.stages.data.columns import guess_columns
from luthier.stages.data.readers.folder import list_files
from luthier.stages.data.readers.formats import open_records
from luthier.stages.data.readers.source import Reading, read_rows

GUESSED_ROWS: Final = 500
LONGEST_LABEL: Final = 80
MOST_LABELS: Final = 200
ROWS_A_LABEL: Final = 3


class Glance(Noun):
    """What a file holds, as a recipe needs it.

    Attributes:
        format: How the file is written.
        form: The rows' form.
        columns: The source's columns by the form's names, where they had to be guessed.
        kind: What the rows can teach.
        num_rows: How many there are.
        num_labels: Different answers where they are few, short and repeat, as names of classes do; else 0.
        num_calls: Rows whose assistant calls a tool.
        longest_row: Characters of the longest row, its tools included.
        longest_answer: Characters of the longest answer.
    """

    format: str
    form: str
    columns: dict[str, str]
    kind: RowKind
    num_rows: int
    num_labels: int
    num_calls: int
    longest_row: int
    longest_answer: int


def look(path: Path) -> Glance:
    """Read a file, guess the columns where no form fits by itself, and measure the rows.

    Raises:
        DataError: When the file or a row of it cannot be read; every bad row at once.
    """
    columns = guess_columns(_read_records(Reading(path)))
    read = read_rows(Reading(path, columns=columns))
    read.raise_problems(path)
    return measure(read.rows, format=read.format, form=read.form, columns=columns)


def measure(rows: Iterable[Row], *, format: str, form: str, columns: dict[str, str]) -> Glance:
    """Measure rows.

    Args:
        rows: One or more.
        format: How their file is written.
        form: Their form.
        columns: The source's columns by the form's names.
    """
    kinds: dict[RowKind, None] = {}
    labels: set[str] = set()
    is_labelled = True
    num_rows = num_calls = longest_row = longest_answer = 0
    for row in rows:
        num_rows += 1
        kinds[row.kind] = None
        answers = list_answers(row)
        longest_row = max(longest_row, count_characters(row))
        longest_answer = max(longest_answer, *(_count(answer) for answer in answers), 0)
        num_calls += any(answer.tool_calls for answer in answers)
        is_labelled = is_labelled and row.kind == "conversation" and len(answers) == 1 and _is_short(answers[0])
        labels.update(answer.text.strip() for answer in answers[: int(is_labelled)])
        is_labelled = is_labelled and len(labels) <= MOST_LABELS
    is_labelled = is_labelled and 2 <= len(labels) <= num_rows / ROWS_A_LABEL
    return Glance(
        format=format,
        form=form,
        columns=columns,
        kind=next(iter(kinds)),
        num_rows=num_rows,
        num_labels=len(labels) if is_labelled else 0,
        num_calls=num_calls,
        longest_row=longest_row,
        longest_answer=longest_answer,
    )


def list_answers(row: Row) -> list[Message]:
    """Return what a row teaches to say: every assistant turn, or both answers of a pair."""
    turns = [message for message in row.messages if message.role == "assistant"] if row.kind == "conversation" else []
    return [*turns, *row.chosen, *row.rejected, *row.completion]


def count_characters(row: Row) -> int:
    """Count the characters of all that a row holds, its tools included."""
    messages = (*row.messages, *row.chosen, *row.rejected, *row.completion)
    tools = len(json.dumps(row.tools)) if row.tools else 0
    return len(row.text) + tools + sum(_count(message) for message in messages)


def _count(message: Message) -> int:
    return len(message.text) + sum(
        len(call.function.name) + len(call.function.arguments) + 24 for call in message.tool_calls
    )


def _is_short(answer: Message) -> bool:
    return not answer.tool_calls and 0 < len(answer.text.strip()) <= LONGEST_LABEL


def _read_records(reading: Reading) -> list[dict[str, Any]]:
    """Return the first rows of a file as they are written."""
    path = list_files(reading.path)[0] if reading.path.is_dir() else reading.path
    with open_records(replace(reading, path=path)) as (_, records):
        return list(islice((record for _, record in records if isinstance(record, dict)), GUESSED_ROWS))
