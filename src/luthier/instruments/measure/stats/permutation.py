"""Tests of no difference: sign flips of whole clusters, and the exact McNemar test.

Under the null hypothesis a cluster's two systems could as well have been named the other way round. Exchanging them
in every subset of clusters gives the distribution of the difference that chance alone makes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.stats import binom

from luthier.instruments.measure.stats.intervals import CHUNK_NUMBERS, Floats, Statistic

MAX_ENUMERATED_CLUSTERS: Final = 14
MAX_INTEGER_SUM: Final = 20_000
MONTE_CARLO_FLIPS: Final = 9_999
TIE: Final = 1e-9
"""Relative distance below which two sums of the same numbers in another order count as equal."""


@dataclass(frozen=True, slots=True)
class FlipTest:
    """p-values of one sign-flip test and how they were found: ``enumeration``, ``convolution``, ``monte_carlo``."""

    p_greater: float
    p_two_sided: float
    method: str


def sign_flip_test(differences: Floats, *, seed: int, flips: int = MONTE_CARLO_FLIPS) -> FlipTest:
    """Test whether cluster sums of differences are centred on zero.

    Exact for whole numbers (0/1 scores) at any number of clusters, by convolution; exact by enumeration for up to 14
    clusters that differ; else Monte Carlo that counts the observed arrangement, so that its level is kept exactly.

    Args:
        differences: Sum of second minus first in each cluster.
        seed: Seed of the Monte Carlo flips.
        flips: How many of them; 19 modulo 20 keeps the level of 5 % exactly.

    Shapes:
        G = clusters.

    Source:
        Fisher 1935, The Design of Experiments, chapter III. Counting the observed one: Phipson and Smyth 2010.

    Example:
        >>> sign_flip_test(np.array([1.0, 1.0, 1.0]), seed=0)
        FlipTest(p_greater=0.125, p_two_sided=0.25, method='enumeration')
    """
    moved = differences[differences != 0]
    observed = float(moved.sum())
    is_whole = bool(np.all(moved == np.rint(moved))) and np.abs(moved).sum() <= MAX_INTEGER_SUM
    if len(moved) <= MAX_ENUMERATED_CLUSTERS:
        signs = _all_signs(len(moved))
        return _count(signs @ moved, observed, extra=0, method="enumeration")
    if is_whole:
        return _convolve(np.abs(moved).astype(np.int64), round(observed))
    rng = np.random.default_rng(seed)
    sums = np.concatenate([signs @ moved for signs in _random_signs(len(moved), rng, flips)])
    return _count(sums, observed, extra=1, method="monte_carlo")


def swap_test(first: Floats, second: Floats, statistic: Statistic, *, seed: int) -> FlipTest:
    """Test whether two systems' statistics differ, by exchanging the systems in whole clusters.

    For means this is the sign-flip test; it also serves statistics that are no means, such as macro F1.

    Args:
        first: Totals of the first system, one row a cluster.
        second: Totals of the second system on the same clusters.
        statistic: Maps totals to the value.
        seed: Seed of the Monte Carlo flips.

    Shapes:
        G = clusters, K = totals a cluster.
    """
    observed = float(statistic(second.sum(axis=0)) - statistic(first.sum(axis=0)))
    middle = (first + second).sum(axis=0) / 2
    halves = (second - first) / 2
    halves = halves[np.any(halves != 0, axis=1)]
    is_small = len(halves) <= MAX_ENUMERATED_CLUSTERS
    batches: Iterable[Floats] = (
        [_all_signs(len(halves))] if is_small else _random_signs(len(halves), np.random.default_rng(seed))
    )
    found = []
    for signs in batches:
        moved = signs @ halves
        found.append(statistic(middle + moved) - statistic(middle - moved))
    method = "enumeration" if is_small else "monte_carlo"
    return _count(np.concatenate(found), observed, extra=0 if is_small else 1, method=method)


def _all_signs(count: int) -> Floats:
    bits = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
    return (1 - 2 * bits).astype(np.float64)


def _random_signs(count: int, rng: np.random.Generator, flips: int = MONTE_CARLO_FLIPS) -> Iterator[Floats]:
    step = max(1, CHUNK_NUMBERS // count)
    sizes = [min(step, flips - start) for start in range(0, flips, step)]
    return (1.0 - 2.0 * rng.integers(0, 2, size=(size, count), dtype=np.int8) for size in sizes)


def _count(sums: Floats, observed: float, *, extra: int, method: str) -> FlipTest:
    slack = TIE * max(abs(observed), float(np.abs(sums).max(initial=0.0)), 1e-300)
    total = len(sums) + extra
    greater = (np.count_nonzero(sums >= observed - slack) + extra) / total
    outside = (np.count_nonzero(np.abs(sums) >= abs(observed) - slack) + extra) / total
    return FlipTest(float(greater), float(outside), method)


def _convolve(sizes: np.ndarray, observed: int) -> FlipTest:
    """Find the exact distribution of a signed sum of whole numbers by adding one cluster at a time."""
    reach = int(sizes.sum())
    chances = np.zeros(2 * reach + 1)
    chances[reach] = 1.0
    for size in sizes:
        moved = np.zeros_like(chances)
        moved[size:] += chances[:-size] / 2
        moved[:-size] += chances[size:] / 2
        chances = moved
    values = np.arange(-reach, reach + 1)
    greater = min(1.0, float(chances[values >= observed].sum()))
    outside = min(1.0, float(chances[np.abs(values) >= abs(observed)].sum()))
    return FlipTest(greater, outside, "convolution")


def mcnemar_exact(wins: int, losses: int) -> float:
    """Return the two-sided exact p of ``wins`` against ``losses`` among independent rows that differ.

    Source:
        McNemar 1947; exact form p = min(1, 2 P[Bin(wins + losses, 1/2) <= min(wins, losses)]).

    Example:
        >>> mcnemar_exact(6, 0)
        0.03125
    """
    total = wins + losses
    if total == 0:
        return 1.0
    return min(1.0, 2.0 * float(binom.cdf(min(wins, losses), total, 0.5)))
