"""Markdown that no value can break: tables and text in which everything that came from a file is inert."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

_ACTIVE: Final = re.compile(r"[\\`*_{}\[\]<>#|~!&]")
LONGEST_CELL: Final = 400


def flatten(value: object) -> str:
    """Write a value as one line of what can be printed, cut at 400 characters."""
    text = "".join(character if character.isprintable() else " " for character in str(value))
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_CELL else text[: LONGEST_CELL - 1] + "…"


def escape(value: object) -> str:
    """Write a value as plain text of one line: no markup, no HTML, no line of its own."""
    return _ACTIVE.sub(r"\\\g<0>", flatten(value))


def code(value: str) -> str:
    """Write a digest or an identifier in a code span."""
    return f"`{''.join(c for c in value if c.isprintable() and c != '`')}`"


def write_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table; cells are Markdown already, by :func:`escape` or :func:`code`."""
    lines = [list(columns), ["---"] * len(columns), *(list(row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_list(items: Iterable[str]) -> str:
    """Write one item a line."""
    return "\n".join(f"- {item}" for item in items)


def write_number(value: float) -> str:
    """Write a number to four significant digits, an integer whole."""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}"


def write_interval(bounds: tuple[float, float]) -> str:
    """Write lower and upper bound."""
    return f"{write_number(bounds[0])} to {write_number(bounds[1])}"
