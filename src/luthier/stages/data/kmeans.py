"""k-means: seeded, bounded in memory, every cluster with at least one member.

Source:
    Lloyd 1982; Arthur and Vassilvitskii 2007 (k-means++).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

MAX_ROUNDS: Final = 50
CHUNK_ROWS: Final = 1 << 14

Vectors = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Clusters:
    """A partition.

    Attributes:
        labels_N: Each vector's cluster.
        centroids_KE: Each cluster's mean.
        flops: Floating-point operations of all rounds.

    Shapes:
        N vectors of E numbers in K clusters.
    """

    labels_N: NDArray[np.int64]
    centroids_KE: Vectors
    flops: int


def seed_centroids(vectors_NE: Vectors, num_clusters: int, *, seed: int) -> Vectors:
    """Draw first centroids among the vectors: each far from those before it, by chance (k-means++)."""
    draw = np.random.default_rng(seed)
    chosen = [int(draw.integers(len(vectors_NE)))]
    nearest_N = _measure(vectors_NE, vectors_NE[chosen])[:, 0]
    while len(chosen) < num_clusters:
        total = nearest_N.sum()
        shares = nearest_N / total if total > 0 else np.full(len(nearest_N), 1 / len(nearest_N))
        chosen.append(int(draw.choice(len(vectors_NE), p=shares)))
        nearest_N = np.minimum(nearest_N, _measure(vectors_NE, vectors_NE[chosen[-1:]])[:, 0])
    return vectors_NE[chosen].copy()


def cluster(vectors_NE: Vectors, centroids_KE: Vectors) -> Clusters:
    """Move centroids to their members' mean until nobody changes cluster.

    A cluster that loses all its members takes the vector that lies farthest from its own centroid.

    Args:
        vectors_NE: What to part.
        centroids_KE: Where to begin, as :func:`seed_centroids` gives them; at most N.
    """
    labels_N = np.full(len(vectors_NE), -1, dtype=np.int64)
    num_rounds = 0
    while num_rounds < MAX_ROUNDS:
        num_rounds += 1
        found_N = _assign(vectors_NE, centroids_KE)
        if np.array_equal(found_N, labels_N):
            break
        labels_N = found_N
        centroids_KE = _average(vectors_NE, labels_N, len(centroids_KE))
    return Clusters(labels_N, centroids_KE, num_rounds * 3 * len(vectors_NE) * centroids_KE.size)


def _assign(vectors_NE: Vectors, centroids_KE: Vectors) -> NDArray[np.int64]:
    labels_N = np.empty(len(vectors_NE), dtype=np.int64)
    own_N = np.empty(len(vectors_NE))
    for start in range(0, len(vectors_NE), CHUNK_ROWS):
        distances = _measure(vectors_NE[start : start + CHUNK_ROWS], centroids_KE)
        labels_N[start : start + CHUNK_ROWS] = distances.argmin(axis=1)
        own_N[start : start + CHUNK_ROWS] = distances.min(axis=1)
    sizes_K = np.bincount(labels_N, minlength=len(centroids_KE))
    for empty in np.flatnonzero(sizes_K == 0):
        farthest = int(np.where(sizes_K[labels_N] > 1, own_N, -1.0).argmax())
        sizes_K[labels_N[farthest]] -= 1
        sizes_K[empty] += 1
        labels_N[farthest], own_N[farthest] = empty, 0.0
    return labels_N


def _average(vectors_NE: Vectors, labels_N: NDArray[np.int64], num_clusters: int) -> Vectors:
    sizes_K = np.bincount(labels_N, minlength=num_clusters)
    places_N = np.arange(len(labels_N))
    shares_KN = csr_array((1.0 / sizes_K[labels_N], (labels_N, places_N)), shape=(num_clusters, len(labels_N)))
    means_KE: Vectors = shares_KN @ vectors_NE
    return means_KE


def _measure(vectors_NE: Vectors, centroids_KE: Vectors) -> Vectors:
    """Return squared Euclidean distances, never below zero."""
    squares = (vectors_NE**2).sum(axis=1)[:, None] + (centroids_KE**2).sum(axis=1)[None, :]
    distances: Vectors = np.maximum(squares - 2.0 * vectors_NE @ centroids_KE.T, 0.0)
    return distances
