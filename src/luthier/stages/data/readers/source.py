"""Read one source: find its format and form, convert its rows, and collect everything that is wrong with it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from luthier.foundation.core.errors import DataError, Problem
from luthier.foundation.schema.rows import Origin, Row
from luthier.instruments.text.forms import detect_form, rename_columns, to_row
from luthier.stages.data.columns import guess_columns
from luthier.stages.data.readers.folder import list_files
from luthier.stages.data.readers.formats import open_records
from luthier.stages.data.readers.reading import Reading as Reading
from luthier.stages.data.spool import Rows

MAX_SHOWN_PROBLEMS: Final = 20
PLAIN_FORM: Final = "text"
TABLES: Final = frozenset({"csv", "parquet"})
"""Formats whose rows all have the same columns."""


@dataclass(slots=True)
class RowsRead:
    """What reading a file gave.

    Attributes:
        rows: The good rows in file order, after those that were there before.
        num_rows: How many good rows the file has.
        first: Where the first good row was read.
        format: Format as read.
        form: Form as read; empty where no row was good.
        problems: The first ``MAX_SHOWN_PROBLEMS`` problems.
        num_problems: How many there are in all.
        hint: What may be meant otherwise: rows read as plain text that have an answer in another column.
    """

    rows: Rows = field(default_factory=Rows)
    num_rows: int = 0
    first: Origin | None = None
    format: str = ""
    form: str = ""
    problems: list[Problem] = field(default_factory=list)
    num_problems: int = 0
    hint: str = ""

    def add_row(self, row: Row, form: str) -> None:
        """Keep a good row."""
        self.form = form
        self.first = self.first or row.origin
        self.num_rows += 1
        self.rows.append(row)

    def add_problems(self, problems: tuple[Problem, ...]) -> None:
        """Keep the first problems and count all."""
        self.num_problems += 1
        room = MAX_SHOWN_PROBLEMS - len(self.problems)
        self.problems += problems[: max(room, 0)]

    def raise_problems(self, path: Path) -> None:
        """Raise what was found, if anything was.

        Args:
            path: The file, for the message.

        Raises:
            DataError: With the first problems, and E-DAT-009 with the number of bad rows where more were found.
        """
        if not self.num_problems:
            return
        problems = list(self.problems)
        if self.num_problems > len(self.problems):
            problems.append(
                Problem(
                    "E-DAT-009",
                    f"{self.num_problems} rows are bad; the first {len(self.problems)} are shown",
                    got=f"{self.num_problems} bad rows, {self.num_rows} good ones",
                    allowed="no bad row",
                    fix=f"luthier data check {shlex.quote(str(path))}",
                )
            )
        raise DataError.collect(problems)


def read_rows(reading: Reading, on_row: Callable[[], None] | None = None, *, into: Rows | None = None) -> RowsRead:
    """Read a file, or all files of rows below a folder; bad rows are collected, not raised.

    Args:
        reading: What to read and how.
        on_row: Called once a row, for progress.
        into: Where the good rows are added; new rows where None.

    Raises:
        DataError: For what concerns a file and not one row: E-DAT-001, 002, 004 to 006, 032 to 034; and E-TXT-012 or
            E-TXT-013 once where the columns of a table fit no form.
    """
    result = RowsRead(Rows() if into is None else into)
    if not reading.path.is_dir():
        result.format = _read_file(result, reading, on_row)
        return result
    result.format = "folder"
    for path in list_files(reading.path):
        label = f"{reading.label}/{path.relative_to(reading.path).as_posix()}"
        one = replace(reading, path=path, name=label, format="auto" if reading.format == "folder" else reading.format)
        _read_file(result, one, on_row)
    return result


def _read_file(result: RowsRead, reading: Reading, on_row: Callable[[], None] | None) -> str:
    before = (result.num_rows, result.num_problems)
    with open_records(reading) as (found, records):
        is_table = found in TABLES
        for number, record in records:
            if is_table and isinstance(record, dict):
                _check_columns(record, reading)
                is_table = False
            _add_record(result, reading, number, record)
            if on_row is not None:
                on_row()
    if (result.num_rows, result.num_problems) == before:
        raise DataError(
            "E-DAT-002",
            "the file holds no rows",
            got=f"{reading.path.stat().st_size} bytes",
            origin=str(reading.path),
            allowed="one row or more",
            fix=f"write rows to {reading.path.name}, or take it out of the recipe",
        )
    return found


def _check_columns(record: Mapping[str, Any], reading: Reading) -> None:
    """Refuse a table whose columns fit no form once, instead of once a row, with a mapping that may be meant."""
    if reading.form != "auto":
        rename_columns(record, reading.columns, origin=str(reading.path))
        return
    try:
        detect_form(record, columns=reading.columns, origin=str(reading.path))
    except DataError as error:
        meant = ", ".join(f"{ours}: {theirs}" for ours, theirs in guess_columns([record]).items())
        if not meant or reading.columns:
            raise
        raise DataError.collect(
            [replace(problem, fix=f"columns: {{{meant}}}") for problem in error.problems]
        ) from error


def _add_record(result: RowsRead, reading: Reading, number: int, record: dict[str, Any] | Problem) -> None:
    if isinstance(record, Problem):
        result.add_problems((record,))
        return
    origin = f"{reading.path} line {number}"
    try:
        form = reading.form if reading.form != "auto" else detect_form(record, columns=reading.columns, origin=origin)
        row = to_row(record, form=form, columns=reading.columns, source=reading.label, line=number)
    except DataError as error:
        result.add_problems(error.problems)
        return
    if result.form and form != result.form:
        result.add_problems((_describe_mixed(result, origin, form),))
        return
    if not result.form and form == PLAIN_FORM and reading.form == "auto" and not reading.columns:
        result.hint = _describe_untrained(record, reading)
    result.add_row(row, form)


def _describe_untrained(record: Mapping[str, Any], reading: Reading) -> str:
    """Say that a column is not trained which looks like an answer; empty where none does."""
    meant = guess_columns([record])
    if "completion" not in meant:
        return ""
    columns = ", ".join(f"{ours}: {theirs}" for ours, theirs in meant.items())
    return (
        f"{reading.label}: read as plain text, of which every token is trained; the column {meant['completion']!r} is "
        f"not. Where it is the answer, give the source `columns: {{{columns}}}`; where it is not, `form: text`"
    )


def _describe_mixed(result: RowsRead, origin: str, form: str) -> Problem:
    return Problem(
        "E-DAT-007",
        "the rows of one source have different forms",
        got=f"{form}, while {result.first} is {result.form}",
        origin=origin,
        allowed="one form a source",
        fix=f"move the {form} rows to a file of their own, or say `form: {result.form}`",
    )
