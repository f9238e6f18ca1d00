"""What of a row is trained, for people to look at."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from luthier.foundation.schema.rows import Row
from luthier.instruments.text.encode import TrainOn, WeightedText, weigh_row
from luthier.instruments.text.tokens import TextTokenizer

TRAINED_START: Final = "\x1b[30;42m"
TRAINED_END: Final = "\x1b[0m"
PLAIN_START: Final = "[["
PLAIN_END: Final = "]]"


@dataclass(frozen=True, slots=True)
class Piece:
    """Characters that are trained, or not."""

    text: str
    is_trained: bool


@dataclass(frozen=True, slots=True)
class MaskedRow:
    """A row as the model reads it, in pieces.

    Attributes:
        pieces: In order; joined they are the whole text.
        num_tokens: Tokens of the row.
        num_trained: How many of them are targets.
    """

    id: str
    origin: str
    pieces: tuple[Piece, ...]
    num_tokens: int
    num_trained: int


def mask_row(row: Row, tokenizer: TextTokenizer, *, train_on: TrainOn = "assistant") -> MaskedRow:
    """Cut a row's text into what is trained and what is not.

    Raises:
        DataError: As ``encode_row``; ModelError as well.
    """
    weighted = weigh_row(row, tokenizer, train_on=train_on)
    num_trained = int(np.count_nonzero(weighted.weights_T))
    return MaskedRow(row.id, str(row.origin), tuple(_cut(weighted)), len(weighted.tokens.ids), num_trained)


def format_masked_row(row: MaskedRow, *, use_colour: bool) -> str:
    """Write a row for a terminal: trained pieces on green, or in double brackets without colour.

    Control characters of the text are written as escapes, so that a row cannot steer the terminal.
    """
    start, end = (TRAINED_START, TRAINED_END) if use_colour else (PLAIN_START, PLAIN_END)
    head = f"{row.id} ({row.origin}): {row.num_trained} of {row.num_tokens} tokens trained"
    body = "".join(_wrap(piece, start, end) for piece in row.pieces)
    return f"{head}\n{body}"


def _cut(weighted: WeightedText) -> Iterator[Piece]:
    is_trained = np.zeros(len(weighted.text), dtype=bool)
    for (start, end), weight in zip(weighted.tokens.offsets, weighted.weights_T, strict=True):
        if weight > 0:
            is_trained[start:end] = True
    edges = np.flatnonzero(np.diff(is_trained.astype(np.int8))) + 1
    bounds = [0, *edges.tolist(), len(weighted.text)]
    for start, end in pairwise(bounds):
        if start < end:
            yield Piece(weighted.text[start:end], bool(is_trained[start]))


def _wrap(piece: Piece, start: str, end: str) -> str:
    text = "".join(_escape(character) for character in piece.text)
    if not piece.is_trained:
        return text
    # A colour that runs over a line's end would paint the rest of the line in some terminals.
    return "\n".join(f"{start}{line}{end}" if line else "" for line in text.split("\n"))


def _escape(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character) not in {"Cc", "Cf", "Cs"}:
        return character
    return character.encode("unicode_escape").decode()
