"""Cells of a table as the values that rows are made of: JSON texts read, what JSON has no word for written as text."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from luthier.foundation.core.errors import Problem, shorten
from luthier.stages.data.readers.parse import find_unstorable, parse_json

STRUCTURED: Final = frozenset(
    {"messages", "conversations", "tools", "functions", "history", "preferred_output", "non_preferred_output"}
)
"""Columns that hold lists; a text in them is JSON."""

EITHER: Final = frozenset({"prompt", "completion", "chosen", "rejected", "input"})
"""Columns that hold a text or messages; only a text that is a list or object of messages is JSON."""

_TRUTHS: Final = {"true": True, "false": False}


def read_cells(record: dict[str, Any], columns: Mapping[str, str], origin: str) -> dict[str, Any] | Problem:
    """Read the cells of a record that hold JSON as text.

    Args:
        record: Values by the source's column names.
        columns: The source's column names by the form's.
        origin: ``file line N``, for messages.
    """
    ours = {theirs: name for name, theirs in columns.items()}
    names = {ours.get(column, column) for column in record}
    found: dict[str, Any] = {}
    for column, value in record.items():
        name = ours.get(column, column)
        found[column] = _read_cell(name, value, f"{origin}, column {column}") if isinstance(value, str) else value
        if isinstance(found[column], Problem):
            problem: Problem = found[column]
            return problem
        if name == "label" and isinstance(value, str) and {"prompt", "completion"} <= names:
            found[column] = _TRUTHS.get(value.strip().lower(), value)
    return found


def _read_cell(name: str, text: str, origin: str) -> Any:  # noqa: ANN401  any JSON value, or a problem
    begin = text.lstrip()[:1]
    if name in STRUCTURED and begin in {"[", "{"}:
        value = parse_json(text, origin)
        if isinstance(value, Problem):
            return replace(
                value, allowed="a JSON list", fix="write the column with json.dumps; Python's quotes are none"
            )
        return value
    if name in EITHER and begin in {"[", "{"}:
        value = parse_json(text, origin)
        return value if _is_messages(value) else text
    return text


def _is_messages(value: object) -> bool:
    if isinstance(value, dict):
        return "messages" in value
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) and "role" in item for item in value)


def to_plain(record: Mapping[str, Any], origin: str) -> dict[str, Any] | Problem:
    """Write a typed record with JSON's types: dates and decimals as text, not-a-number and absent fields as nothing.

    Args:
        record: Values of a Parquet row.
        origin: ``file line N``, for messages.
    """
    plain = {name: _to_plain(value) for name, value in record.items()}
    where, what = next(find_unstorable(plain, ""), ("", ""))
    if not what:
        return plain
    return Problem(
        "E-DAT-008",
        f"the value at {where} cannot be kept exactly: {what}",
        got=shorten(repr(record)),
        origin=origin,
        allowed="texts, finite numbers, whole numbers up to 2**53 - 1, dates, lists and structs of these",
        fix="write the column as text, or leave it out of the file",
    )


def _to_plain(value: Any) -> Any:  # noqa: ANN401  any value of a Parquet column
    match value:
        case dict():
            return {key: _to_plain(item) for key, item in value.items() if item is not None}
        case list():
            return [_to_plain(item) for item in value]
        case datetime.date() | datetime.time():
            return value.isoformat()
        case datetime.timedelta() | Decimal():
            return str(value)
        case float() if math.isnan(value):
            return None
        case _:
            return value
