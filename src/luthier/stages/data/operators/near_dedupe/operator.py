"""Drop rows that say nearly the same as a better one; each drop is verified and names its partner."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, NamedTuple

import numpy as np

from luthier.foundation.schema.rows import Row
from luthier.stages.data.operators.near_dedupe.candidates import Signatures, plan_bands
from luthier.stages.data.operators.near_dedupe.config import Config
from luthier.stages.data.operators.near_dedupe.shingles import U32, shingle_rows
from luthier.stages.data.outcomes import Dropped, HeldOut, Kept, Outcome
from luthier.stages.data.texts import rank_row

CHUNK: Final = 256
CHUNK_LETTERS: Final = 1 << 20
"""Rows and letters that are hashed at once: few enough for the processor's cache."""

MAX_COMPARED: Final = 200
"""Kept rows that one row is compared with: a bound for data of one mould."""

MIN_ANSWER: Final = 0.5
"""Least similarity of two answers: the same question answered otherwise is a contradiction and not a copy."""

Sets = tuple[U32, U32]


class Match(NamedTuple):
    """The kept row that another is nearly the same as."""

    kept: int
    similarity: float


class NearDedupeOperator:
    """See ``Config``."""

    def apply(self, rows: Sequence[Row], config: Config, held_out: HeldOut) -> Iterator[Outcome]:  # noqa: ARG002
        """Yield each cluster's best row as kept, the others as dropped in its favour."""
        matches = find_matches(rows, config)
        sizes = Counter(match.kept for match in matches.values())
        for number, row in enumerate(rows):
            match = matches.get(number)
            if match is None:
                yield Kept(row)
                continue
            kept = rows[match.kept]
            detail = {"kept": kept.id, "kept_at": str(kept.origin), "similarity": round(match.similarity, 4)}
            yield Dropped(row, ("near_duplicate",), detail | {"cluster": 1 + sizes[match.kept]})


def find_matches(rows: Sequence[Row], config: Config) -> dict[int, Match]:
    """Find rows to drop, each with the kept row that it is verified to be nearly the same as.

    Rows are judged from the best to the worst: one goes if it is near to a row that stays. So no two rows that
    stay are near, a chain of small changes does not drag its far end along, and the order of rows has no say.

    Args:
        rows: The rows.
        config: Threshold and runs.
    """
    signatures = _sign(rows, config)
    groups_of: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for band, (members, groups) in enumerate(signatures.iterate_groups()):
        for row, group in zip(members.tolist(), groups.tolist(), strict=True):
            groups_of[row].append((band, group))
    matches: dict[int, Match] = {}
    kept_in: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    ranks = {row: rank_row(rows[row]) for row in groups_of}
    for row in sorted(groups_of, key=lambda each: (ranks[each], each)):
        rivals = dict.fromkeys(rival for group in groups_of[row] for rival in kept_in[group])
        match = _find_match(row, islice(rivals, MAX_COMPARED), signatures, config.threshold)
        if match is not None:
            matches[row] = match
            continue
        for group in groups_of[row]:
            kept_in[group].append(row)
    return matches


def _sign(rows: Sequence[Row], config: Config) -> Signatures:
    signatures = Signatures(plan_bands(config.threshold))
    for chunk in _cut(rows):
        signatures.add(shingle_rows(chunk, words=config.words, has_numbers=config.numbers == "tell_apart"))
    return signatures


def _cut(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Cut rows into chunks; long rows make short chunks."""
    chunk: list[Row] = []
    num_letters = 0
    for row in rows:
        chunk.append(row)
        num_letters += len(row.text) + sum(len(message.text) for message in row.messages)
        if len(chunk) >= CHUNK or num_letters >= CHUNK_LETTERS:
            yield chunk
            chunk, num_letters = [], 0
    if chunk:
        yield chunk


def _find_match(row: int, rivals: Iterable[int], signatures: Signatures, threshold: float) -> Match | None:
    own: Sets | None = None
    best: Match | None = None
    for rival in rivals:
        own = signatures.read_sets(row) if own is None else own
        similarity = compare_sets(own, signatures.read_sets(rival))
        if similarity >= threshold and (best is None or similarity > best.similarity):
            best = Match(rival, similarity)
    return best


def compare_sets(one: Sets, other: Sets) -> float:
    """Return the Jaccard similarity of two rows' runs of words; zero where their answers have little in common.

    Args:
        one: Sets of what a row asks and what it answers.
        other: The same of another row.
    """
    asked, answered = (len(np.intersect1d(*pair, assume_unique=True)) for pair in zip(one, other, strict=True))
    all_asked, all_answered = (len(left) + len(right) for left, right in zip(one, other, strict=True))
    if answered < MIN_ANSWER * (all_answered - answered):
        return 0.0
    shared = asked + answered
    return shared / (all_asked + all_answered - shared)


PLUGIN = NearDedupeOperator()
