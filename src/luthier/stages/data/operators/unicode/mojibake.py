"""Undo an encoding that was read as another: UTF-8 that became Windows-1252 or Latin-1 letters, once or more often."""

from __future__ import annotations

from typing import Final

from ftfy import TextFixerConfig, fix_encoding
from ftfy.badness import is_bad

_OPTIONS: Final = TextFixerConfig(unescape_html=False, fix_c1_controls=False)
"""Entities may be the text's own subject, and stray control characters are counted as such."""


def repair_text(text: str) -> str:
    """Return the text with its letters restored, line by line; the same object where none is broken.

    Only what gets shorter is taken for repaired: several letters that were one. A stray byte that stands for one
    letter may be noise as well.

    Args:
        text: Any text.

    Source:
        ftfy 6, whose heuristics were made from millions of posts; see its documentation for what they weigh.
    """
    if text.isascii() or not is_bad(text):
        return text
    repaired = "\n".join(map(_repair_line, text.split("\n")))
    return repaired if repaired != text else text


def _repair_line(line: str) -> str:
    repaired = fix_encoding(line, _OPTIONS)
    return repaired if len(repaired) < len(line) else line
