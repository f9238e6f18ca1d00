"""Class labels as people mean them: case, spaces around and a final full stop do not make another class."""

from __future__ import annotations

import unicodedata


def normalise_label(text: str) -> str:
    """Bring a label into one form: NFKC, case folded, spaces collapsed, quotes and final punctuation stripped.

    Example:
        >>> normalise_label(' "Card  Arrival". ')
        'card arrival'
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(folded.split()).strip("\"'`.!,;: ")
