"""Tell a file's format and open it as records: JSONL, one JSON document, CSV, Parquet or one plain text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, Final, Literal

from luthier.foundation.core.errors import DataError, Problem
from luthier.stages.data.readers.csv_file import iterate_csv
from luthier.stages.data.readers.folder import TEXT_SUFFIX, find_suffix
from luthier.stages.data.readers.parquet_file import MAGIC, iterate_parquet
from luthier.stages.data.readers.parse import decode, parse_json, parse_object
from luthier.stages.data.readers.reading import Reading, Record
from luthier.stages.data.readers.streams import iterate_lines, open_rows, read_document

Format = Literal["jsonl", "json", "csv", "parquet", "text"]

_BY_SUFFIX: Final[dict[str, Format]] = {".csv": "csv", ".tsv": "csv", ".parquet": "parquet"}
_JSON_START: Final = re.compile(rb"(?:\[\s*)?\{")
_JSON_SUFFIX: Final = ".json"


@contextmanager
def open_records(reading: Reading) -> Iterator[tuple[Format, Iterator[Record]]]:
    """Open a file as its records.

    Args:
        reading: One file and how it is to be read.

    Raises:
        DataError: For what concerns the file and not one row.
    """
    with open_rows(reading.path) as stream:
        found = find_format(stream, reading)
        yield found, _ITERATORS[found](stream, reading)


def find_format(stream: BinaryIO, reading: Reading) -> Format:
    """Tell the format by the recipe, the first bytes, the name.

    Raises:
        DataError: E-DAT-034 where a folder is promised and a file is there.
    """
    if reading.format == "folder":
        raise DataError(
            "E-DAT-034",
            "the source is a file, not a folder",
            got=str(reading.path),
            allowed="a folder with files of rows",
            fix="format: auto",
            field="data.sources.format",
        )
    for name in _ITERATORS:
        if reading.format == name:
            return name
    head = stream.peek(64)[:64] if hasattr(stream, "peek") else b""
    if head.startswith(MAGIC):
        return "parquet"
    suffix = find_suffix(reading.path)
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix]
    head = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if suffix == TEXT_SUFFIX and not _JSON_START.match(head):
        return "text"
    if head.startswith(b"[") or (suffix == _JSON_SUFFIX and not _is_line_of_json(stream)):
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


def iterate_text(stream: BinaryIO, reading: Reading) -> Iterator[Record]:
    """Yield the whole file as one text, or what is wrong with it; nothing where it holds nothing.

    Raises:
        DataError: E-DAT-004 for a file that is too large, E-DAT-006 for UTF-16.
    """
    text = decode(read_document(stream, reading.path), str(reading.path))
    if isinstance(text, Problem) or text.strip():
        yield 1, text if isinstance(text, Problem) else {"text": text}


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


_ITERATORS: Final[dict[Format, Callable[[BinaryIO, Reading], Iterator[Record]]]] = {
    "jsonl": iterate_jsonl,
    "json": iterate_json,
    "csv": iterate_csv,
    "parquet": iterate_parquet,
    "text": iterate_text,
}
