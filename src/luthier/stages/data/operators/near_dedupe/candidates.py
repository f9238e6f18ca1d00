"""Which rows are worth comparing: MinHash signatures, cut into bands; rows that share a whole band stand in a group."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from luthier.stages.data.operators.near_dedupe.shingles import U32, U64, Ints, Shingles, mix
from luthier.stages.data.spool import Lines

NUM_HASHES: Final = 128
"""Most hash functions; the bands are as long as recall allows with so many."""

RECALL: Final = 0.999
"""Share of pairs exactly at the threshold that share a band."""


@dataclass(frozen=True, slots=True)
class Bands:
    """How signatures are cut: ``num`` bands of ``length`` hash functions."""

    num: int
    length: int


def plan_bands(threshold: float) -> Bands:
    """Choose the longest bands, and so the fewest useless comparisons, with which hardly any pair is missed.

    Args:
        threshold: Jaccard similarity that a pair has at least.

    Source:
        Leskovec et al., Mining of Massive Datasets, section 3.4: P = 1 - (1 - s^r)^b.
    """
    longest = Bands(NUM_HASHES, 1)
    for length in range(1, NUM_HASHES + 1):
        shared = min(threshold**length, 1 - 1e-9)
        num = math.ceil(math.log(1 - RECALL) / math.log(1 - shared))
        if num * length > NUM_HASHES:
            return longest
        longest = Bands(num, length)
    return longest


def sign_rows(shingles: Shingles, bands: Bands) -> U64:
    """Return a key for each band of each row; rows without a word have keys of no meaning.

    Shapes:
        (bands, N).
    """
    num_rows = len(shingles.ends_N)
    starts = np.concatenate([[0], shingles.ends_N[:-1]]).astype(np.int64)
    has_words = shingles.ends_N > starts
    keys = np.empty((bands.num, num_rows), np.uint64)
    factors, shifts = draw_functions(bands.num * bands.length)
    for band in range(bands.num):
        key = shingles.guards_N[has_words] + np.uint64(band)
        for function in range(band * bands.length, (band + 1) * bands.length):
            hashed = shingles.hashes_S * factors[function] + shifts[function]
            key = mix(key + np.minimum.reduceat(hashed, starts[has_words]) if len(hashed) else key)
        keys[band, has_words] = key
    keys[:, ~has_words] = 0
    return keys


def draw_functions(num: int) -> tuple[U32, U32]:
    """Return factors and summands of hash functions x -> (a x + b) mod 2**32, the same on every machine."""
    drawn = mix(np.arange(1, 2 * num + 1, dtype=np.uint64)) >> np.uint64(32)
    return drawn[:num].astype(np.uint32) | np.uint32(1), drawn[num:].astype(np.uint32)


@dataclass(slots=True)
class Signatures:
    """Sets and band keys of all rows, on disk; memory holds a few bytes a row.

    Attributes:
        bands: How signatures are cut.
    """

    bands: Bands
    _keys: Lines = field(default_factory=Lines)
    _sets: Lines = field(default_factory=Lines)
    _num_asked: array[int] = field(default_factory=lambda: array("I"))

    def add(self, shingles: Shingles) -> None:
        """Take in the next rows."""
        for keys in sign_rows(shingles, self.bands):
            self._keys.append(keys.tobytes())
        start = 0
        for end in shingles.ends_N.tolist():
            self._sets.append(shingles.hashes_S[start:end].tobytes())
            start = end
        self._num_asked.extend(shingles.num_asked_N.tolist())

    def read_sets(self, row: int) -> tuple[U32, U32]:
        """Return the sets of what a row asks and what it answers."""
        both = np.frombuffer(self._sets.read(row), np.uint32)
        return both[: self._num_asked[row]], both[self._num_asked[row] :]

    def iterate_groups(self) -> Iterator[tuple[Ints, Ints]]:
        """Yield for each band the rows that share a key with another row, and the number of each one's group."""
        num_chunks = len(self._keys) // self.bands.num
        for band in range(self.bands.num):
            parts = [self._keys.read(chunk * self.bands.num + band) for chunk in range(num_chunks)]
            yield find_groups(np.frombuffer(b"".join(parts), np.uint64))


def find_groups(keys: U64) -> tuple[Ints, Ints]:
    """Return the rows whose key another row has too, and the number of each one's group; key 0 is nobody's."""
    order = np.argsort(keys, kind="stable")
    is_new = np.ones(len(keys), bool)
    is_new[1:] = np.diff(keys[order]) != 0
    groups = np.cumsum(is_new) - 1
    is_shared: NDArray[np.bool_] = (np.bincount(groups)[groups] > 1) & (keys[order] != 0)
    return order[is_shared], groups[is_shared]
