"""Read one source: find its format and form, convert its rows, and collect everything that is wrong with it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

from luthier.foundation.core.errors import DataError, Problem
from luthier.foundation.schema.rows import Origin, Row
from luthier.instruments.text.forms import detect_form, to_row
from luthier.stages.data.readers.parse import decode, parse_json, parse_object
from luthier.stages.data.readers.streams import iterate_lines, open_rows, read_document
from luthier.stages.data.spool import Rows

MAX_SHOWN_PROBLEMS: Final = 20
_JSON_SUFFIXES: Final = {".json"}
_PACKED_SUFFIXES: Final = {".gz", ".zst"}

Record = tuple[int, dict[str, Any] | Problem]


@dataclass(frozen=True, slots=True)
class Reading:
    """How a file is to be read.

    Attributes:
        path: Where it lies.
        format: ``jsonl`` or ``json``; ``auto`` tells by name and first byte.
        form: The rows' form; ``auto`` takes that of the first good row.
        columns: The source's column names by the form's, as ``forms.to_row`` takes them.
        name: What rows and messages call the file; the path where empty.
    """

    path: Path
    format: str = "auto"
    form: str = "auto"
    columns: Mapping[str, str] = field(default_factory=dict)
    name: str = ""

    @property
    def label(self) -> str:
        """The name that rows carry in their origin."""
        return self.name or str(self.path)


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
    """

    rows: Rows = field(default_factory=Rows)
    num_rows: int = 0
    first: Origin | None = None
    format: str = ""
    form: str = ""
    problems: list[Problem] = field(default_factory=list)
    num_problems: int = 0

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
    """Read a file whole; bad rows are collected, not raised.

    Args:
        reading: What to read and how.
        on_row: Called once a row, for progress.
        into: Where the good rows are added; new rows where None.

    Raises:
        DataError: For what concerns the file and not one row: E-DAT-001, 002, 004, 005, 006.
    """
    result = RowsRead(Rows() if into is None else into)
    with open_rows(reading.path) as stream:
        result.format = find_format(stream, reading)
        records = iterate_json(stream, reading) if result.format == "json" else iterate_jsonl(stream, reading)
        for number, record in records:
            _add_record(result, reading, number, record)
            if on_row is not None:
                on_row()
    if not result.num_rows and not result.num_problems:
        raise DataError(
            "E-DAT-002",
            "the file holds no rows",
            got=f"{reading.path.stat().st_size} bytes",
            origin=str(reading.path),
            allowed="one row or more",
            fix=f"write rows to {reading.path.name}, or take it out of the recipe",
        )
    return result


def find_format(stream: BinaryIO, reading: Reading) -> Literal["jsonl", "json"]:
    """Tell JSONL from one JSON document, by the recipe, the name, then the first byte.

    Raises:
        DataError: E-REC-010 for formats that this version does not read.
    """
    if reading.format in {"jsonl", "json"}:
        return "json" if reading.format == "json" else "jsonl"
    suffixes = [suffix for suffix in reading.path.suffixes if suffix not in _PACKED_SUFFIXES]
    suffix = suffixes[-1].lower() if suffixes else ""
    if reading.format != "auto" or suffix in {".csv", ".parquet"}:
        raise DataError(
            "E-REC-010",
            "this format is not read by this version",
            got=reading.format if reading.format != "auto" else suffix.lstrip("."),
            origin=str(reading.path),
            allowed="jsonl, json; plain, .gz or .zst",
            fix="convert the file to JSONL",
        )
    head = stream.peek(64)[:64].removeprefix(b"\xef\xbb\xbf").lstrip() if hasattr(stream, "peek") else b""
    if head.startswith(b"[") or (suffix in _JSON_SUFFIXES and not _is_line_of_json(stream)):
        return "json"
    return "jsonl"


def _is_line_of_json(stream: BinaryIO) -> bool:
    """Tell whether a ``.json`` file holds a whole object on its first line, as many JSONL files of that name do."""
    head = stream.peek(1 << 16) if hasattr(stream, "peek") else b""
    first, newline, rest = head.partition(b"\n")
    return bool(newline) and first.rstrip().endswith(b"}") and rest.lstrip().startswith(b"{")


def iterate_jsonl(stream: BinaryIO, reading: Reading) -> Iterator[Record]:
    """Yield each line's number and object, or what is wrong with it."""
    for number, line in iterate_lines(stream, reading.path):
        yield number, parse_object(line, f"{reading.path} line {number}")


def iterate_json(stream: BinaryIO, reading: Reading) -> Iterator[Record]:
    """Yield each element of a JSON document with its number from 1.

    A document is an array of rows, an object whose only list of objects holds the rows, or one row.

    Raises:
        DataError: E-DAT-003 or E-DAT-006 when the document as a whole cannot be read.
    """
    origin = str(reading.path)
    text = decode(read_document(stream, reading.path), origin)
    value = text if isinstance(text, Problem) else (parse_json(text, origin) if text.strip() else [])
    if isinstance(value, Problem):
        raise DataError.collect([value])
    for number, element in enumerate(find_elements(value), start=1):
        if isinstance(element, dict):
            yield number, element
        else:
            yield (
                number,
                Problem(
                    "E-DAT-003",
                    "a row must be a JSON object",
                    got=repr(element)[:200],
                    origin=f"{origin} row {number}",
                    fix="write objects into the array",
                ),
            )


def find_elements(document: object) -> list[object]:
    """Find the rows of a JSON document."""
    if isinstance(document, list):
        return document
    if not isinstance(document, dict):
        return [document]
    if "messages" in document or "conversations" in document:
        return [document]
    lists = [
        value
        for value in document.values()
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value)
    ]
    return lists[0] if len(lists) == 1 else [document]


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
    result.add_row(row, form)


def _describe_mixed(result: RowsRead, origin: str, form: str) -> Problem:
    return Problem(
        "E-DAT-007",
        "the rows of one file have different forms",
        got=f"{form}, while {result.first} is {result.form}",
        origin=origin,
        allowed="one form a file",
        fix=f"move the {form} rows to a file of their own, or say `form: {result.form}`",
    )
