"""What of a row is trained, for people to look at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from luthier.foundation.core.errors import DataError, Problem
from luthier.foundation.schema.rows import Row
from luthier.instruments.text.encode import TrainOn, WeightedText, check_trained, weigh_row
from luthier.instruments.text.pairs import PREFERENCE, write_out
from luthier.instruments.text.tokens import TextTokenizer


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
    check_trained(row, weighted, train_on)
    num_trained = int(np.count_nonzero(weighted.weights_T))
    return MaskedRow(row.id, str(row.origin), tuple(_cut(weighted)), len(weighted.tokens.ids), num_trained)


def mask_rows(
    rows: Iterable[Row], tokenizer: TextTokenizer, *, train_on: TrainOn = "assistant"
) -> tuple[list[MaskedRow], list[Problem]]:
    """Cut rows, a preference into two; what is wrong with bad ones is returned beside the good ones.

    Raises:
        ModelError: When the template itself is broken.
    """
    masked: list[MaskedRow] = []
    problems: list[Problem] = []
    for row in rows:
        try:
            written = write_out(row) if row.kind == PREFERENCE else (row,)
            masked += [mask_row(one, tokenizer, train_on=train_on) for one in written]
        except DataError as error:
            problems.append(error.problems[0])
    return masked, problems


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
