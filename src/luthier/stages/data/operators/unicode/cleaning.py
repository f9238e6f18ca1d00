"""Clean one text: what is hidden goes, what is lawful stays, everything is counted."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from luthier.stages.data.operators.unicode import characters_table as table
from luthier.stages.data.operators.unicode.mojibake import repair_text

_MIN_HIDDEN_LETTERS: Final = 3
_TAG_BASE: Final = 0xE0000
_EMOJI_CATEGORIES: Final = frozenset({"So", "Sk", "Sm"})
_KEYCAP_BASES: Final = frozenset("0123456789#*")
_VARIATION_BASES: Final = _KEYCAP_BASES | frozenset("\u00a9\u00ae\u203c\u2049\u2122\u2139\u3030\u303d\u3297\u3299")


@dataclass(slots=True)
class Cleaning:
    """What was found in the texts of one row.

    Attributes:
        counts: Characters taken out or replaced by kind; under ``mojibake``, texts that were repaired.
        hidden: Texts that invisible characters spelled.
    """

    counts: Counter[str] = field(default_factory=Counter)
    hidden: list[str] = field(default_factory=list)


def is_plain(text: str) -> bool:
    """Tell cheaply that a JSON text holds only plain ASCII, escapes of control characters included."""
    return text.isascii() and "\\u00" not in text and "\\r" not in text and table.SUSPECT.search(text) is None


def clean_text(text: str, found: Cleaning, *, fix_lookalikes: bool, repair: bool = True) -> str:
    """Return the text without broken, hidden and odd characters, in NFC; the same object where nothing changes.

    Args:
        text: Any text.
        found: Filled with what was found.
        fix_lookalikes: Whether look-alike letters in Latin words are replaced.
        repair: Whether UTF-8 that was read as a Western code page is read again.

    Source:
        UAX 15 (NFC), UTS 39 (look-alikes), UTS 51 (joiners, selectors and tags in emoji).
    """
    if table.SUSPECT.search(text) is None and text.isascii():
        return text
    cleaned = repair_text(text) if repair else text  # first: broken letters hold what looks like control characters
    found.counts.update({"mojibake": 1} if cleaned is not text else {})
    cleaned = _replace_suspects(cleaned, found)
    if fix_lookalikes and not cleaned.isascii():
        cleaned = table.MIXED_WORD.sub(lambda match: _fix_word(match[0], found), cleaned)
    composed = unicodedata.normalize("NFC", cleaned)
    if composed != cleaned:
        found.counts["nfc"] += 1
    if repair and composed != text and repair_text(composed) is not composed:  # hidden characters stood between
        return clean_text(composed, found, fix_lookalikes=fix_lookalikes)
    return composed if composed != text else text


def clean_arguments(text: str, clean: Callable[[str], str]) -> str:
    """Clean a call's JSON arguments; escaped characters are cleaned as what they stand for.

    Args:
        text: A JSON text, or what a model wrote in its place.
        clean: Cleans a plain text.
    """
    if "\\u" not in text:
        return clean(text)
    try:
        arguments = json.loads(text)
    except ValueError:
        return clean(text)
    cleaned = _clean_value(arguments, clean)
    return text if cleaned == arguments else json.dumps(cleaned, ensure_ascii=False)


def _clean_value(value: Any, clean: Callable[[str], str]) -> Any:  # noqa: ANN401  any JSON value
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(key): _clean_value(item, clean) for key, item in value.items()}
    if isinstance(value, list):
        return [_clean_value(item, clean) for item in value]
    return value


def _replace_suspects(text: str, found: Cleaning) -> str:
    if table.SUSPECT.search(text) is None:
        return text
    lawful = {index for match in table.FLAG.finditer(text) for index in range(*match.span())}
    pieces: list[str] = []
    tags: list[str] = []
    selectors: list[int] = []
    for index, letter in enumerate(text):
        kind = None if index in lawful else _suspect_kind(letter)
        if kind is None or _is_lawful(text, index, kind):
            pieces.append(letter)
            continue
        found.counts[kind] += 1
        pieces.append(_replacement(text, index, kind))
        if kind == "tag":
            tags.append(chr(ord(letter) - _TAG_BASE))
        elif kind == "variation":
            selectors.append(_selector_byte(letter))
    _note_hidden("".join(tags), found)
    _note_hidden(bytes(selectors).decode("utf-8", "replace"), found)
    return "".join(pieces)


def _suspect_kind(letter: str) -> str | None:
    if " " <= letter < "\x7f":
        return None
    return next((kind for kind, pattern in table.CLASSES.items() if pattern.match(letter)), None)


def _is_lawful(text: str, index: int, kind: str) -> bool:
    """Tell whether a suspect character does honest work at its place."""
    letter = text[index]
    before = text[index - 1] if index else ""
    after = text[index + 1] if index + 1 < len(text) else ""
    match kind:
        case "zero_width" if letter in "\u200c\u200d":
            return _is_joiner_lawful(letter, before, after)
        case "zero_width" if table.CLASSES["zero_width"].match(letter) and letter in table.FILLER:
            return bool(table.JAMO.match(before) or table.JAMO.match(after))
        case "variation":
            return _is_selector_lawful(letter, before)
        case "bidi":
            return letter not in table.OVERRIDES and table.RIGHT_TO_LEFT.search(text) is not None
        case "space" if letter == "\u3000":
            return table.CJK.search(text) is not None
        case "space" if letter == "\u2800":
            return table.BRAILLE.search(text) is not None
        case _:
            return False


def _is_joiner_lawful(letter: str, before: str, after: str) -> bool:
    if table.JOINING_SCRIPT.match(before):
        return True
    is_emoji_before = bool(before) and (before == "\ufe0f" or unicodedata.category(before) in _EMOJI_CATEGORIES)
    return letter == "\u200d" and is_emoji_before and bool(after) and unicodedata.category(after) in _EMOJI_CATEGORIES


def _is_selector_lawful(letter: str, before: str) -> bool:
    if not before:
        return False
    if letter in "\ufe0e\ufe0f":
        return before in _VARIATION_BASES or unicodedata.category(before) in _EMOJI_CATEGORIES
    if letter >= "\U000e0100":
        return table.CJK.match(before) is not None
    return table.CJK.match(before) is not None or unicodedata.category(before) == "Sm" or "\u1800" <= before <= "\u18af"


def _replacement(text: str, index: int, kind: str) -> str:
    if kind == "space":
        return " "
    if kind == "line_end":
        return "" if text[index] == "\r" and text[index + 1 : index + 2] == "\n" else "\n"
    return ""


def _selector_byte(letter: str) -> int:
    point = ord(letter)
    return point - 0xFE00 if point <= 0xFE0F else point - 0xE0100 + 16


def _note_hidden(text: str, found: Cleaning) -> None:
    if sum(letter.isalnum() and letter.isascii() for letter in text) >= _MIN_HIDDEN_LETTERS:
        found.hidden.append(text)


def _fix_word(word: str, found: Cleaning) -> str:
    """Replace look-alikes in a word of Latin letters; a word with a foreign letter that has no Latin twin stays."""
    fixed = word.translate(table.LOOKALIKES)
    if any("\u0370" <= letter <= "\u04ff" for letter in fixed):
        return word
    found.counts["lookalike"] += sum(old != new for old, new in zip(word, fixed, strict=True))
    return fixed
