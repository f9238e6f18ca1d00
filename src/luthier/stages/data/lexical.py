"""Texts as vectors without a model: weighted words, hashed, then the few directions in which texts differ most.

Words that every row has, such as those of a shared system prompt, weigh nothing. Rows about the same thing get
vectors of nearly the same direction even where they share few words.

Source:
    Deerwester et al. 1990 (latent semantic analysis); Halko et al., arXiv:0909.4061, algorithms 4.4 and 5.1.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from luthier.foundation.schema.rows import Row
from luthier.stages.data.texts import iterate_messages, split_words

WIDTH: Final = 64
BUCKETS: Final = 1 << 16
OVERSAMPLING: Final = 10
POWER_STEPS: Final = 2
FIRST_UNSPACED: Final = "\u0e00"
"""From Thai on many scripts write words without spaces; there pairs of characters stand for words."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """One vector a text, of length 1, or 0 where a text says nothing of its own.

    Shapes:
        N texts, E numbers: (N, E).
    """

    vectors_NE: NDArray[np.float64]
    flops: int


def embed_rows(rows: Iterable[Row], *, seed: int) -> Embedded:
    """Embed what users, assistants and calls say; system prompts and tool lists do not count.

    Args:
        rows: Rows, read once.
        seed: Draws the first directions that are looked into.
    """
    return embed_words((list(iterate_words(row)) for row in rows), seed=seed)


def iterate_words(row: Row) -> Iterator[str]:
    """Yield the words that tell a row from others; of a preference the rejected answer is not among them."""
    yield from _split(row.text)
    for message in iterate_messages(row.model_copy(update={"rejected": ()})):
        if message.role not in {"system", "developer"}:
            yield from _split(message.text)
            for call in message.tool_calls:
                yield call.function.name
                yield from _split(call.function.arguments)


def _split(text: str) -> Iterator[str]:
    for word in split_words(text):
        if max(word) < FIRST_UNSPACED or len(word) == 1:
            yield word
        else:
            yield from (word[start : start + 2] for start in range(len(word) - 1))


def embed_words(texts: Iterable[list[str]], *, seed: int, width: int = WIDTH) -> Embedded:
    """Embed texts that are given as words.

    Args:
        texts: Words by text.
        seed: Draws the first directions that are looked into.
        width: Greatest number of numbers a vector has.
    """
    weights = weigh_words(texts)
    num_texts, num_words = weights.shape
    if not weights.nnz:
        return Embedded(np.zeros((num_texts, 1)), 0)
    sample = min(width + OVERSAMPLING, num_texts, num_words)
    basis = weights @ np.random.default_rng(seed).standard_normal((num_words, sample))
    for _ in range(POWER_STEPS):
        basis = weights @ (weights.T @ np.linalg.qr(basis).Q)
    basis = np.linalg.qr(basis).Q
    within = weights.T @ basis
    strengths, turn = np.linalg.eigh(within.T @ within)
    leading = turn[:, ::-1][:, :width] * np.sqrt(np.maximum(strengths[::-1][:width], 0.0))
    products = 2 * (POWER_STEPS + 1) * 2 * weights.nnz * sample
    dense = (POWER_STEPS + 1) * 4 * num_texts * sample**2 + 2 * num_words * sample**2
    return Embedded(normalise_rows(basis @ leading), products + dense)


def weigh_words(texts: Iterable[list[str]]) -> csr_array:
    """Weigh words by how often a text has them and how few texts do: (1 + log tf) * log((1 + N) / (1 + df)).

    Returns:
        One row of length 1 a text, one column a word that occurs; the digests of words may collide.
    """
    ends, buckets, counts = [0], list[int](), list[int]()
    for words in texts:
        found = Counter(zlib.crc32(word.encode("utf-8", "surrogatepass")) % BUCKETS for word in words)
        buckets += found.keys()
        counts += found.values()
        ends.append(len(buckets))
    used, columns = np.unique(np.array(buckets, dtype=np.int64), return_inverse=True)
    frequencies = np.bincount(columns, minlength=len(used))
    rarity = np.log((1 + len(ends) - 1) / (1 + frequencies))
    values = (1.0 + np.log(np.array(counts, dtype=np.float64))) * rarity[columns]
    weights = csr_array((values, columns, np.array(ends)), shape=(len(ends) - 1, len(used)))
    weights.eliminate_zeros()
    lengths = np.sqrt(np.asarray(weights.multiply(weights).sum(axis=1)).ravel())
    weights.data /= np.repeat(lengths, np.diff(weights.indptr))
    return weights


def normalise_rows(vectors_NE: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bring every row to length 1; rows that are next to nothing become zero."""
    lengths_N1 = np.linalg.norm(vectors_NE, axis=1, keepdims=True)
    is_something = lengths_N1 > 1e-9
    return np.where(is_something, vectors_NE / np.where(is_something, lengths_N1, 1.0), 0.0)
