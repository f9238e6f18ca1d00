"""Read CSV: the delimiter told by the first records, each record with the line on which it begins."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice
from typing import BinaryIO, Final

from luthier.foundation.core.errors import DataError, Problem, shorten
from luthier.stages.data.readers.cells import read_cells
from luthier.stages.data.readers.parse import decode
from luthier.stages.data.readers.reading import Reading, Record
from luthier.stages.data.readers.streams import MAX_LINE_BYTES, iterate_raw_lines

DELIMITERS: Final = (",", ";", "\t", "|")
SAMPLE_LINES: Final = 100
_STATED: Final = re.compile(r"sep=(.)\r?\n?$")
"""First line by which a spreadsheet states the delimiter."""

_NAMES: Final = {"\t": "tab", ",": "comma", ";": "semicolon", "|": "bar"}


def iterate_csv(stream: BinaryIO, reading: Reading) -> Iterator[Record]:
    """Yield each record with the number of its first line; blank lines are none.

    A record with too many or too few fields is a problem of its own. A quote that is never closed, or that closes
    inside a field, makes all that follows doubtful: it is the last problem.

    Raises:
        DataError: E-DAT-006 for a text that is not UTF-8, E-DAT-032 for a header that names a column twice.
    """
    lines = _decode_lines(stream, reading)
    sample = list(islice(lines, SAMPLE_LINES))
    stated = _STATED.match(sample[0]) if sample else None
    num_before = 1 if stated else 0
    delimiter = stated[1] if stated else find_delimiter(sample)
    csv.field_size_limit(MAX_LINE_BYTES)
    reader = csv.reader(chain(sample[num_before:], lines), delimiter=delimiter, strict=True)
    header: list[str] = []
    while True:
        line = num_before + reader.line_num + 1
        origin = f"{reading.path} line {line}"
        try:
            fields = next(reader, None)
        except csv.Error as error:
            yield line, _describe_break(error, origin)
            return
        if fields is None:
            return
        if not header:
            header = name_columns(fields, origin)
        elif len(fields) != len(header) and fields:
            yield line, _describe_ragged(fields, header, origin, delimiter)
        elif fields:
            yield line, read_cells(dict(zip(header, fields, strict=True)), reading.columns, origin)


def find_delimiter(sample: Sequence[str]) -> str:
    """Tell the delimiter: the one by which the header has most columns and most records have as many."""

    def judge(delimiter: str) -> tuple[float, int]:
        records: list[list[str]] = []
        with suppress(csv.Error):  # what was read up to there is judged; reading says what is wrong
            records.extend(fields for fields in csv.reader(sample, delimiter=delimiter) if fields)
        width = len(records[0]) if records else 0
        alike = sum(len(fields) == width for fields in records)
        return (alike / len(records) if width > 1 else 0.0, width)

    return max(DELIMITERS, key=judge)


def name_columns(fields: Sequence[str], origin: str) -> list[str]:
    """Return the header's names, spaces around them off; a column without a name is called by its number.

    Raises:
        DataError: E-DAT-032 for a name that stands there twice.
    """
    names = [field.strip() or f"column {number}" for number, field in enumerate(fields, start=1)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(
            "E-DAT-032",
            f"the header names the column {twice!r} more than once",
            got=shorten(", ".join(names)),
            origin=origin,
            allowed="a first line that names each column once",
            fix=f"rename one of the columns {twice!r} in the first line",
        )
    return names


def _decode_lines(stream: BinaryIO, reading: Reading) -> Iterator[str]:
    for number, line in iterate_raw_lines(stream, reading.path):
        text = decode(line, f"{reading.path} line {number}")
        if isinstance(text, Problem):
            raise DataError.collect([text])
        yield text


def _describe_ragged(fields: Sequence[str], header: Sequence[str], origin: str, delimiter: str) -> Problem:
    return Problem(
        "E-DAT-031",
        f"the record has {len(fields)} fields, the header {len(header)}",
        got=shorten(delimiter.join(fields)),
        origin=origin,
        allowed=f"{len(header)} fields: {shorten(', '.join(header))}",
        fix=f"put a value that holds a {_NAMES.get(delimiter, delimiter)} or a line end into double quotes",
    )


def _describe_break(error: csv.Error, origin: str) -> Problem:
    return Problem(
        "E-DAT-031",
        f"the record that begins here cannot be told from the next: {error}",
        origin=origin,
        allowed='fields in double quotes, a quote inside them doubled ("")',
        fix=f"close or double the quote in the record at {origin}; what follows was not read",
    )
