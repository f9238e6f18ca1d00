"""From rows to what detectors watch: columns of numbers, and texts as tokens and vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final

import numpy as np
from numpy.typing import NDArray

from luthier.instruments.text.static_embeddings import StaticEmbeddings
from luthier.stages.monitor.detector import Floats, Values
from luthier.stages.monitor.traffic import NUMBERS, TrafficRow

TOPICS: Final = "topics"
TEXT_LENGTH: Final = "text_length"
FRAGMENTS: Final = "tokens_per_character"
DETECTORS: Final = {TOPICS: "mmd", TEXT_LENGTH: "rank", FRAGMENTS: "rank", **dict.fromkeys(NUMBERS, "rank")}
"""Every signal with the detector that watches it. Misspelt or foreign text falls into more tokens a character."""


@dataclass(frozen=True, slots=True)
class Observed:
    """A stream as detectors see it.

    Attributes:
        values: By signal; NaN where a row lacks it. Signals that no row has are left out.
        absent: These, each with the reason.
        days_N: Proleptic Gregorian ordinal of each row's day in UTC; None where rows have no time.

    Shapes:
        N rows; a signal is (N, V).
    """

    num_rows: int
    values: dict[str, Values]
    absent: dict[str, str]
    days_N: NDArray[np.int64] | None = field(default=None)


def observe(rows: Sequence[TrafficRow], embeddings: StaticEmbeddings | None, *, why_no_base: str = "") -> Observed:
    """Turn rows into values.

    Args:
        rows: The rows.
        embeddings: The base's table and tokenizer.
        why_no_base: Why there are none.
    """
    values: dict[str, Values] = {}
    texts = [row.text or "" for row in rows]
    if any(texts):
        values[TEXT_LENGTH] = _column([float(len(text)) if text else np.nan for text in texts])
        if embeddings is not None:
            values |= _read_texts(texts, embeddings)
    for name in NUMBERS:
        if any(name in row.numbers for row in rows):
            values[name] = _column([row.numbers.get(name, np.nan) for row in rows])
    missing = {
        name: why_no_base if name in {TOPICS, FRAGMENTS} and any(texts) else _explain(name)
        for name in DETECTORS
        if name not in values
    }
    has_times = bool(rows) and all(row.time is not None for row in rows)
    days_N = np.array([row.time.toordinal() for row in rows if row.time is not None], dtype=np.int64)
    return Observed(len(rows), values, missing, days_N if has_times else None)


def _read_texts(texts: Sequence[str], embeddings: StaticEmbeddings) -> dict[str, Values]:
    ids = embeddings.tokenizer.encode_ids(texts)
    shares = [len(own) / len(text) if text else np.nan for own, text in zip(ids, texts, strict=True)]
    return {TOPICS: embeddings.embed(ids), FRAGMENTS: _column(shares)}


def _column(numbers: Sequence[float]) -> Floats:
    return np.array(numbers, dtype=np.float64)[:, None]


def _explain(name: str) -> str:
    return f"no row has the column {name}" if name in NUMBERS else "no row has a text"


def find_weekdays(days_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return each day's weekday, Monday 0."""
    return (days_N + date.fromordinal(1).weekday() - 1) % 7
