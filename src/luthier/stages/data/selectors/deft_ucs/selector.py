"""Unsupervised core-set selection by clusters, in an order of which every prefix is such a selection.

The paper fixes how many rows to take: a random base, then A rows of each of K clusters, alpha * A nearest the centroid
and beta * A farthest from it, by cosine. Here the base and the clusters take turns, and the clusters among themselves,
so that a prefix of base size + A * K rows is the paper's selection, and a shorter one has the same mixture.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from luthier.foundation.core.seeds import derive_seed
from luthier.foundation.schema.rows import Row
from luthier.stages.data.kmeans import cluster, seed_centroids
from luthier.stages.data.lexical import embed_rows, normalise_rows
from luthier.stages.data.ranking import Pick, Ranking, draw_order
from luthier.stages.data.selectors.deft_ucs.config import Config

MOST_CLUSTERS: Final = 64


class DeftUcsSelector:
    """See ``Config``."""

    def rank(self, rows: Sequence[Row], config: Config, *, number: int, seed: int) -> Ranking:
        """Let chance and clusters take turns until there are as many rows as asked."""
        order = draw_order(rows, seed)
        num_random = round(number * config.random_fraction)
        base = [Pick(index, "random") for index in order[:num_random]]
        rest = order[num_random:]
        if num_random == number:
            return Ranking(tuple(base))
        embedded = embed_rows((rows[index] for index in rest), seed=derive_seed(seed, "select", "embed"))
        num_clusters = min(choose_num_clusters(config, len(rest)), len(rest))
        centroids_KE = seed_centroids(embedded.vectors_NE, num_clusters, seed=derive_seed(seed, "select", "centroids"))
        found = cluster(embedded.vectors_NE, centroids_KE)
        ranks = [
            interleave_ends(members, config.easy_fraction)
            for members in sort_members(embedded.vectors_NE, found.labels_N, found.centroids_KE)
        ]
        picked = [Pick(rest[place], reason) for place, reason in take_turns(ranks)]
        picks = mix(base, picked[: number - num_random])
        return Ranking(tuple(picks), embedded.flops + found.flops)


def choose_num_clusters(config: Config, num_rows: int) -> int:
    """Return the number of topics that is asked for, or a usual one."""
    if config.clusters != "auto":
        return config.clusters
    return min(max(round(math.sqrt(num_rows / 2)), 1), MOST_CLUSTERS)


def sort_members(
    vectors_NE: NDArray[np.float64], labels_N: NDArray[np.int64], centroids_KE: NDArray[np.float64]
) -> list[list[int]]:
    """Return each cluster's members from the nearest to its centroid to the farthest, large clusters first."""
    cosines_N = (vectors_NE * normalise_rows(centroids_KE)[labels_N]).sum(axis=1)
    clusters = [np.flatnonzero(labels_N == label) for label in range(len(centroids_KE))]
    clusters.sort(key=len, reverse=True)
    return [[int(place) for place in members[np.argsort(-cosines_N[members], kind="stable")]] for members in clusters]


def interleave_ends(members: Sequence[int], easy_fraction: float) -> list[tuple[int, str]]:
    """Order one cluster: from its near and its far end in turn, in the proportion that is asked for."""
    ordered: list[tuple[int, str]] = []
    near, far = 0, len(members) - 1
    for taken in range(len(members)):
        is_easy = math.ceil((taken + 1) * easy_fraction) > math.ceil(taken * easy_fraction)
        ordered.append((members[near], "easy") if is_easy else (members[far], "hard"))
        near, far = (near + 1, far) if is_easy else (near, far - 1)
    return ordered


def take_turns(ranks: Sequence[Sequence[tuple[int, str]]]) -> Iterator[tuple[int, str]]:
    """Yield the first of every cluster, then the second, until all are empty."""
    for turn in range(max(map(len, ranks), default=0)):
        yield from (members[turn] for members in ranks if turn < len(members))


def mix(first: Sequence[Pick], second: Sequence[Pick]) -> list[Pick]:
    """Merge two orders so that every prefix holds them in proportion to their lengths."""
    total = len(first) + len(second)
    merged: list[Pick] = []
    for taken in range(total):
        num_first = (taken + 1) * len(first) // total
        merged.append(first[num_first - 1] if num_first > taken * len(first) // total else second[taken - num_first])
    return merged


PLUGIN = DeftUcsSelector()
