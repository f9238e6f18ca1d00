"""Rows of traffic as files hold them: JSON lines with a time, a text and numbers. Every line is checked."""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from luthier.foundation.core.codes import ErrorCode
from luthier.foundation.core.errors import DataError, shorten

NUMBERS: Final = ("confidence", "logprob", "prompt_tokens", "completion_tokens", "length")
"""Columns that are watched where they are there."""
LONGEST_SPAN_DAYS: Final = 3_660


@dataclass(frozen=True, slots=True)
class TrafficRow:
    """One request.

    Attributes:
        time: In UTC; None for rows of a Report, which were asked at no time of their own.
        text: What was asked; None where content is not kept.
        numbers: Columns of ``NUMBERS`` that the row has.
    """

    time: datetime | None
    text: str | None
    numbers: dict[str, float]


@dataclass(frozen=True, slots=True)
class Traffic:
    """Rows in order of time, and what a person should know of the file."""

    rows: tuple[TrafficRow, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Line:
    """A row with where it came from and how its time was written."""

    row: TrafficRow
    time: datetime
    origin: str
    has_offset: bool


def read_traffic(path: Path) -> Traffic:
    """Read a file of rows, or all files of a folder such as a release's traffic log.

    Args:
        path: JSON lines, plain or gzip, or a folder of such files. Columns that are not known are ignored.

    Raises:
        DataError: E-MON-001 for a line that is no JSON object or a text that is none, E-MON-002 for a time that is
            missing or cannot be read, E-MON-003 where some times have an offset and some have none, E-MON-004 for a
            number that is none, E-MON-005 for a file without rows, E-MON-006 for times ten years apart.
    """
    files = (
        sorted(file for file in path.iterdir() if file.name.endswith((".jsonl", ".jsonl.gz")))
        if path.is_dir()
        else [path]
    )
    lines = [line for file in files for line in _read_file(file)]
    if not lines:
        raise DataError(
            "E-MON-005",
            "there is no row to look at",
            got="an empty folder" if path.is_dir() else "an empty file",
            origin=str(path),
            allowed='JSON lines such as {"time": "2026-03-02T09:30:00Z", "text": "Where is my order?"}',
            fix="--traffic FILE with at least one row",
        )
    notes = tuple(_check_times(lines))
    ordered = sorted(lines, key=lambda line: line.time)
    span = ordered[-1].time.toordinal() - ordered[0].time.toordinal()
    if span > LONGEST_SPAN_DAYS:
        raise DataError(
            "E-MON-006",
            "the times lie too far apart for one watch",
            got=f"{ordered[0].time.date()} ({ordered[0].origin}) to {ordered[-1].time.date()} ({ordered[-1].origin})",
            origin=str(path),
            allowed=f"at most {LONGEST_SPAN_DAYS:,} days",
            fix="mend the clock's lines, or leave them out",
            field="time",
        )
    return Traffic(tuple(line.row for line in ordered), notes)


def _read_file(path: Path) -> Iterator[_Line]:
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise _refuse(
            "E-MON-001", "the file cannot be read as text", error, str(path), "UTF-8 text, plain or gzip"
        ) from error
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield _read_line(line, f"{path} line {number}")


def _read_line(line: str, origin: str) -> _Line:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _refuse("E-MON-001", "a line is not JSON", line, origin, "one JSON object a line") from error
    if not isinstance(value, dict):
        raise _refuse("E-MON-001", "a line is not a JSON object", line, origin, "one JSON object a line")
    text = value.get("text")
    if text is not None and not isinstance(text, str):
        raise _refuse("E-MON-001", "a text is not a string", text, origin, "a string, or null", field="text")
    time = _read_time(value.get("time"), origin)
    numbers = {name: _read_number(name, value[name], origin) for name in NUMBERS if value.get(name) is not None}
    in_utc = (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    return _Line(TrafficRow(in_utc, text, numbers), in_utc, origin, time.tzinfo is not None)


def _read_time(value: Any, origin: str) -> datetime:  # noqa: ANN401  any JSON value
    allowed = "ISO 8601, such as 2026-03-02T09:30:00Z, between the years 2 and 9998"
    if value is None:
        raise _refuse("E-MON-002", "a row has no time", "no time", origin, allowed, field="time")
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        time = None
    if time is None or not 1 < time.year < 9999:
        raise _refuse("E-MON-002", "a time cannot be read", value, origin, allowed, field="time")
    return time


def _read_number(name: str, value: Any, origin: str) -> float:  # noqa: ANN401  any JSON value
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    number = float(value) if is_number and abs(value) < 1e300 else math.nan
    if not math.isfinite(number):
        raise _refuse(
            "E-MON-004",
            f"the column {name} holds no finite number",
            value,
            origin,
            "a finite number, or null",
            field=name,
        )
    return number


def _check_times(lines: list[_Line]) -> Iterator[str]:
    """Refuse what cannot be put in order; say what was."""
    without = next((line for line in lines if not line.has_offset), None)
    with_offset = next((line for line in lines if line.has_offset), None)
    if without is not None and with_offset is not None:
        raise DataError(
            "E-MON-003",
            "some times say their offset from UTC and some do not, so their order is unknown",
            got=f"no offset in {without.origin}, an offset in {with_offset.origin}",
            origin=without.origin,
            allowed="an offset in every line, or in none",
            fix="write every time with Z or +hh:mm",
            field="time",
        )
    if without is not None:
        yield "times without an offset are taken as UTC"
    late = [line for before, line in pairwise(lines) if line.time < before.time]
    if late:
        yield f"{len(late)} rows stood out of order and were sorted by time; the first is {late[0].origin}"


def _refuse(code: ErrorCode, what: str, got: object, origin: str, allowed: str, *, field: str = "") -> DataError:
    fix = f"mend {origin}, or leave the line out"
    return DataError(code, what, got=shorten(got), origin=origin, allowed=allowed, fix=fix, field=field)
