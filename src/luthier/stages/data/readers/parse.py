"""Parse one row's JSON strictly: UTF-8, an object, and only values that canonical JSON can keep exactly."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, Final

from luthier.foundation.core.errors import Problem, shorten

MAX_EXACT_INTEGER: Final = 2**53 - 1
MAX_DEPTH: Final = 64
_NOT_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")
_PAIR: Final = re.compile(rb"\{\}|\[\]")
_LONG_NUMBER: Final = re.compile(r"\d(?:\d{15}|[eE]\+?\d{3})")
_SUSPECT_WORDS: Final = ("\\ud", "\\uD", "NaN", "Infinity")
"""What a text must hold, beside a long number, for a value to be out of range; spares the walk on most rows."""


def parse_object(line: bytes, origin: str) -> dict[str, Any] | Problem:
    """Parse one line.

    Args:
        line: Bytes of one JSON object.
        origin: ``file line N``, for the message.

    Returns:
        The object, or what is wrong with it.
    """
    text = decode(line, origin)
    if isinstance(text, Problem):
        return text
    value = parse_json(text, origin)
    if isinstance(value, Problem):
        return value
    if not isinstance(value, dict):
        return Problem(
            "E-DAT-003",
            "a row must be a JSON object",
            got=shorten(text),
            origin=origin,
            allowed='an object such as {"messages": [...]}',
            fix="write one JSON object on each line",
        )
    return value


def decode(data: bytes, origin: str) -> str | Problem:
    """Decode UTF-8, or say at which byte it is none."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        around = data[max(0, error.start - 20) : error.end + 20]
        return Problem(
            "E-DAT-006",
            "the text is not UTF-8",
            got=f"byte 0x{data[error.start]:02x} in {around!r}",
            origin=f"{origin}, byte {error.start}",
            allowed="UTF-8",
            fix="iconv -f WINDOWS-1252 -t UTF-8 IN > OUT",
        )


def parse_json(text: str, origin: str) -> Any | Problem:  # noqa: ANN401  any JSON value
    """Parse a JSON text, or say where it breaks and what cannot be kept."""
    try:
        value = json.loads(text)
    except (json.JSONDecodeError, RecursionError, ValueError) as error:
        place = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply or a number too long"
        return Problem(
            "E-DAT-003",
            f"this is not JSON: {reason}{place}",
            got=shorten(text),
            origin=origin,
            allowed="one JSON object a line",
            fix=f"mend {origin}",
        )
    found = None
    if is_deep(text, value):
        found = ("", f"it is nested more than {MAX_DEPTH} levels deep")
    elif _LONG_NUMBER.search(text) or any(word in text for word in _SUSPECT_WORDS):
        found = next(find_unstorable(value, ""), None)
    if found is None:
        return value
    where, what = found
    return Problem(
        "E-DAT-008",
        f"the value at {where or 'the top'} cannot be kept exactly: {what}",
        got=shorten(text),
        origin=origin,
        allowed=f"finite numbers, whole numbers up to 2**53 - 1, whole characters, {MAX_DEPTH} levels",
        fix="write the value as text",
    )


def is_deep(text: str, value: object) -> bool:
    """Tell whether a JSON text is nested too deeply, by taking out innermost pairs of brackets level by level.

    Args:
        text: The JSON text.
        value: What it parses to; looked at where brackets inside strings keep pairs from matching.
    """
    brackets = text.encode("utf-8", "surrogatepass").translate(None, _NOT_BRACKETS)
    for _ in range(MAX_DEPTH):
        shorter = _PAIR.sub(b"", brackets)
        if len(shorter) == len(brackets):
            break
        brackets = shorter
    return len(brackets) > 0 and _is_deep_value(value)


def _is_deep_value(value: object) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        containers = [item for item in level if isinstance(item, dict | list)]
        level = [child for item in containers for child in (item.values() if isinstance(item, dict) else item)]
    return any(isinstance(item, dict | list) for item in level)


def find_unstorable(value: object, where: str) -> Iterator[tuple[str, str]]:
    """Yield the place of each value that canonical JSON cannot keep exactly, and what it is.

    Args:
        value: Any value of JSON's types; bytes are named too.
        where: Dotted path of the value; empty at the top.
    """
    match value:
        case bool() | None:
            return
        case int() if abs(value) > MAX_EXACT_INTEGER:
            yield where, f"the whole number {shorten(str(value), 40)} is beyond 2**53"
        case bytes():
            yield where, f"{len(value)} bytes are no text"
        case float() if not math.isfinite(value):
            yield where, f"{value} is not a finite number"
        case str() if any("\ud800" <= letter <= "\udfff" for letter in value):
            yield where, "half a surrogate pair is no character"
        case dict():
            for key, item in value.items():
                yield from find_unstorable(key, f"{where}.{key}".lstrip(".").encode("ascii", "replace").decode())
                yield from find_unstorable(item, f"{where}.{key}".lstrip("."))
        case list():
            for index, item in enumerate(value):
                yield from find_unstorable(item, f"{where}[{index}]")
        case _:
            return
