"""Rows as sets of hashed runs of words, a few thousand rows at once, without a loop over words.

Dimensions: C characters, W words, S runs of words in all rows, N rows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from luthier.foundation.schema.rows import Message, Row
from luthier.stages.data.texts import normalise

U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]
Ints = NDArray[np.int64]

_ASKED: Final = 0
_ANSWERED: Final = {"messages": 1, "chosen": 2, "rejected": 3, "completion": 4}
"""Marks of texts: what is asked, and answers by the field in which they stand."""

_END: Final = "\0"
_LOW_32: Final = np.uint64(0xFFFFFFFF)
_HALF: Final = np.uint64(32)
_BASE: Final = np.uint64(0x9E3779B97F4A7C15)
_NOT_ASCII: Final = 128
_IS_LETTER: Final = np.array([chr(code).isalnum() or code == ord("_") for code in range(_NOT_ASCII)] + [True])
_NO_WORD: Final = re.compile(r"\W+")
_UNSPACED: Final = re.compile("([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3040-\u9fff\uf900-\ufaff])")
"""Thai, Lao, Burmese, Khmer, Han, Kana: written without spaces, so each letter counts as a word."""


class Marked(NamedTuple):
    """A text with whose it is."""

    mark: int
    text: str


@dataclass(frozen=True, slots=True)
class Shingles:
    """Sets of N rows, one after the other; in each, what is asked stands before what is answered, both sorted.

    Attributes:
        hashes_S: Hashed runs of words, each once a row and side.
        ends_N: Where each row's set ends.
        num_asked_N: How many of a row's are of what is asked.
        guards_N: Hash of what near duplicates must have in common: the kind of row, media, numbers.
    """

    hashes_S: U32  # noqa: N815
    ends_N: Ints  # noqa: N815
    num_asked_N: Ints  # noqa: N815
    guards_N: U64  # noqa: N815


def mix(values: U64) -> U64:
    """Scramble 64-bit numbers so that every bit depends on all of them.

    Source:
        Steele et al. 2014, SplitMix64, the finaliser of Stafford.
    """
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def shingle_rows(rows: Sequence[Row], *, words: int, has_numbers: bool) -> Shingles:
    """Turn rows into sets.

    Args:
        rows: At most 2**31 rows.
        words: Words of a run; a shorter text is one run.
        has_numbers: Whether the guard holds the row's numbers, ids and dates.
    """
    texts: list[str] = []
    marks: list[int] = []
    owners: list[int] = []
    guards = np.empty(len(rows), np.uint64)
    for number, row in enumerate(rows):
        for mark, text in _collect_texts(row):
            marks.append(mark)
            texts.append(text)
            owners.append(number)
        guards[number] = crc32(_describe_guard(row).encode())
    owner_T, mark_T = np.array(owners, np.int64), np.array(marks, np.int64)  # noqa: N806
    hash_W, text_W, has_digit_W = hash_words(texts)  # noqa: N806
    heads_S, runs_S = _join_runs(hash_W, text_W, words)  # noqa: N806
    text_S = text_W[heads_S]  # noqa: N806
    runs_S = mix(runs_S ^ mix(mark_T[text_S].astype(np.uint64) + np.uint64(1)))  # noqa: N806
    place_S = 2 * owner_T[text_S] + (mark_T[text_S] != _ASKED)  # noqa: N806
    keys = _sort_unique((place_S.astype(np.uint64) << _HALF) | (runs_S >> _HALF))
    counts = np.bincount((keys >> _HALF).astype(np.int64), minlength=2 * len(rows)).reshape(-1, 2)
    if has_numbers:
        guards = mix(guards + _sum_numbers(hash_W[has_digit_W], owner_T[text_W[has_digit_W]], len(rows)))
    return Shingles(
        hashes_S=(keys & _LOW_32).astype(np.uint32),
        ends_N=counts.sum(axis=1).cumsum(),
        num_asked_N=counts[:, 0].copy(),
        guards_N=guards,
    )


def _collect_texts(row: Row) -> list[Marked]:
    found = [Marked(_ASKED, row.text)] if row.text else []
    for name, mark in _ANSWERED.items():
        messages: tuple[Message, ...] = getattr(row, name)
        for message in messages:
            if message.role == "user":
                found.append(Marked(_ASKED, message.text))
            elif message.role == "assistant":
                found.append(Marked(mark, message.text))
                calls = message.tool_calls
                found += [Marked(mark, f"{call.function.name} {call.function.arguments}") for call in calls]
    return found


def _describe_guard(row: Row) -> str:
    blobs = [
        part.blob
        for name in _ANSWERED
        for message in getattr(row, name)
        if not isinstance(message.content, str)
        for part in message.content
        if part.blob
    ]
    return f"{row.kind} {row.label} {' '.join(blobs)}"


def hash_words(texts: Sequence[str]) -> tuple[U64, Ints, NDArray[np.bool_]]:
    """Hash all words of all texts.

    Returns:
        Each word's hash, the number of its text, and whether there is a digit in it.

    Shapes:
        Each (W,), in the order of the texts.
    """
    joined = _END.join(map(_prepare, texts))
    if joined.isascii():
        codes_C = np.frombuffer(joined.encode("ascii"), np.uint8)  # noqa: N806
        is_letter_C = _IS_LETTER[codes_C]  # noqa: N806
    else:
        codes_C = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)  # noqa: N806
        is_letter_C = _IS_LETTER[np.minimum(codes_C, _NOT_ASCII)]  # noqa: N806
    edges = np.flatnonzero(np.diff(is_letter_C, prepend=False, append=False))
    starts, ends = edges[::2], edges[1::2]
    powers, inverses = _take_powers(len(codes_C))
    sums = np.zeros(len(codes_C) + 1, np.uint64)
    np.cumsum((codes_C + np.uint64(1)) * powers, out=sums[1:])
    hashes = mix((sums[ends] - sums[starts]) * inverses[starts])  # a word's sum, moved to where words begin
    digits = np.zeros(len(codes_C) + 1, np.int32)
    np.cumsum((codes_C >= ord("0")) & (codes_C <= ord("9")), out=digits[1:])
    return hashes, np.searchsorted(np.flatnonzero(codes_C == 0), starts), digits[ends] > digits[starts]


@lru_cache(maxsize=1)
def _grow_powers(num: int) -> tuple[U64, U64]:
    """Return powers of the base and of its inverse modulo 2**64."""
    inverse = np.uint64(pow(int(_BASE), -1, 2**64))
    one = np.ones(1, np.uint64)
    return (
        np.multiply.accumulate(np.concatenate([one, np.full(num - 1, _BASE)])),
        np.multiply.accumulate(np.concatenate([one, np.full(num - 1, inverse)])),
    )


def _take_powers(num: int) -> tuple[U64, U64]:
    powers, inverses = _grow_powers(1 << max(16, num.bit_length()))
    return powers[:num], inverses[:num]


def _prepare(text: str) -> str:
    if text.isascii():
        return text.lower().replace(_END, " ")
    return _NO_WORD.sub(" ", _UNSPACED.sub(r" \1 ", normalise(text)))


def _join_runs(hash_W: U64, text_W: Ints, words: int) -> tuple[Ints, U64]:  # noqa: N803
    """Return where each run of words starts, and its hash; a text of fewer words is one run."""
    if not len(hash_W):
        return np.empty(0, np.int64), np.empty(0, np.uint64)
    num_words = np.bincount(text_W)
    first = np.cumsum(num_words) - num_words
    left = num_words[text_W] - (np.arange(len(text_W)) - first[text_W])
    heads = np.flatnonzero((left >= words) | (left == num_words[text_W]))
    runs = np.zeros(len(heads), np.uint64)
    for step in range(words):
        following = hash_W[np.minimum(heads + step, len(hash_W) - 1)]
        runs = runs * _BASE + np.where(left[heads] > step, following, np.uint64(0))
    return heads, runs


def _sum_numbers(hashes: U64, owners: Ints, num_rows: int) -> U64:
    """Hash each row's set of numbers, whatever their order."""
    sums = np.zeros(num_rows, np.uint64)
    keys = _sort_unique((owners.astype(np.uint64) << _HALF) | (hashes >> _HALF))
    if len(keys):
        rows = (keys >> _HALF).astype(np.int64)
        starts = np.flatnonzero(np.diff(rows, prepend=-1))
        sums[rows[starts]] = np.add.reduceat(mix(keys & _LOW_32), starts)
    return sums


def _sort_unique(keys: U64) -> U64:
    keys = np.sort(keys)
    return keys[np.diff(keys, prepend=keys[:1] - np.uint64(1)) != 0] if len(keys) else keys
