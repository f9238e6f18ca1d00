"""Intervals of one number: Wilson for rates, BCa cluster bootstrap for everything else.

A statistic is a smooth function of *totals*: each cluster brings a row of totals, and the statistic maps their sum
over clusters to a number. A mean is ``sum / weight``, macro F1 a function of counts by class. Resampling whole
clusters is then one product of multinomial weights and totals, with no loop over draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.stats import norm
from scipy.stats import t as student_t

Floats = npt.NDArray[np.floating[Any]]
Statistic = Callable[[Floats], Floats]
"""Maps totals (…, K) to values (…)."""

DRAWS: Final = 10_000
CHUNK_NUMBERS: Final = 4_000_000


@dataclass(frozen=True, slots=True)
class Interval:
    """Lower and upper bound, and how they were made."""

    low: float
    high: float
    method: str


def wilson(successes: float, n: int, *, confidence: float = 0.95) -> Interval:
    """Bound a rate that was seen in ``n`` independent rows.

    Args:
        successes: Rows that succeeded.
        n: All rows, at least one.
        confidence: Coverage aimed at.

    Source:
        Wilson 1927, Probable inference, the law of succession, and statistical inference.

    Example:
        >>> interval = wilson(8, 10)
        >>> round(interval.low, 3), round(interval.high, 3)
        (0.49, 0.943)
    """
    z = float(norm.ppf(0.5 + confidence / 2))
    rate = successes / n
    scale = 1 + z * z / n
    centre = (rate + z * z / (2 * n)) / scale
    half = z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n)) / scale
    # At the ends the bound is exactly 0 or 1; the sum above misses it by a rounding.
    low = 0.0 if successes <= 0 else max(0.0, centre - half)
    high = 1.0 if successes >= n else min(1.0, centre + half)
    return Interval(low, high, "wilson")


def mean_of_totals(totals: Floats) -> Floats:
    """Return ``sum / weight`` for totals whose last axis is (sum, weight)."""
    return np.asarray(totals[..., 0] / totals[..., 1])


def draw_totals(totals: Floats, *, draws: int, rng: np.random.Generator) -> Floats:
    """Resample clusters with replacement and sum their totals.

    Clusters with equal totals are one category, so 0/1 scores cost the same at any number of rows.

    Args:
        totals: One row a cluster.
        draws: Number of resamples.
        rng: Source of randomness.

    Returns:
        Sums of each resample.

    Shapes:
        G = clusters, K = totals a cluster; the result is (draws, K).
    """
    num_clusters, width = totals.shape
    kinds, counts = np.unique(totals, axis=0, return_counts=True)
    result = np.empty((draws, width))
    step = max(1, CHUNK_NUMBERS // max(len(kinds), 1))
    for start in range(0, draws, step):
        size = min(step, draws - start)
        if len(kinds) * 8 <= num_clusters:
            result[start : start + size] = rng.multinomial(num_clusters, counts / num_clusters, size=size) @ kinds
        else:
            result[start : start + size] = _multinomial_of_equals(num_clusters, size, rng) @ totals
    return result


def _multinomial_of_equals(num_clusters: int, size: int, rng: np.random.Generator) -> Floats:
    """Draw multinomial weights with equal chances: counting indices is several times faster than binomials."""
    picks = rng.integers(0, num_clusters, size=(size, num_clusters), dtype=np.int64)
    picks += np.arange(size, dtype=np.int64)[:, None] * num_clusters
    counts = np.bincount(picks.ravel(), minlength=size * num_clusters)
    return counts.reshape(size, num_clusters).astype(np.float64)


class BcaBootstrap:
    """Bias-corrected, accelerated cluster bootstrap of one statistic; any number of bounds from one set of draws.

    The tail probabilities are widened as Student's t with G - 1 degrees and the factor sqrt(G / (G - 1)) ask:
    plain BCa is too narrow by these two at small G.

    Source:
        Efron 1987, Better bootstrap confidence intervals. Widening: Hesterberg 2015, arXiv:1411.5279, section 4.4.
    """

    def __init__(
        self, totals: Floats, statistic: Statistic, *, seed: int, draws: int = DRAWS, is_widened: bool = True
    ) -> None:
        """Draw once.

        Args:
            totals: One row a cluster, at least one.
            statistic: Maps totals to the value.
            seed: Seed of the draws.
            draws: Number of resamples.
            is_widened: False gives the textbook's BCa, for comparison with other implementations.
        """
        self.value = float(statistic(totals.sum(axis=0)))
        self.num_clusters = len(totals)
        self._is_widened = is_widened
        values = statistic(draw_totals(totals, draws=draws, rng=np.random.default_rng(seed)))
        self._sorted = np.sort(values[np.isfinite(values)])
        self.is_degenerate = self.num_clusters < 2 or bool(np.ptp(self._sorted) < 1e-12 * max(1.0, abs(self.value)))
        self._bias, self._acceleration = 0.0, 0.0
        if not self.is_degenerate:
            self._bias = self._measure_bias()
            self._acceleration = _measure_acceleration(totals, statistic)

    def _measure_bias(self) -> float:
        below = np.searchsorted(self._sorted, self.value, side="left")
        up_to = np.searchsorted(self._sorted, self.value, side="right")
        share = (below + up_to) / (2 * len(self._sorted))
        return float(norm.ppf(np.clip(share, 1 / len(self._sorted), 1 - 1 / len(self._sorted))))

    def bound(self, probability: float) -> float:
        """Return the value below which the true one lies with this probability.

        Args:
            probability: In (0, 1): 0.05 gives a one-sided lower bound at 95 %.
        """
        if self.is_degenerate:
            return self.value
        z = float(norm.ppf(probability))
        if self._is_widened:
            degrees = self.num_clusters - 1
            z = float(student_t.ppf(probability, degrees)) * math.sqrt(self.num_clusters / degrees)
        moved = self._bias + z
        level = norm.cdf(self._bias + moved / max(1 - self._acceleration * moved, 1e-6))
        return float(np.quantile(self._sorted, float(np.clip(level, 0.0, 1.0))))

    def interval(self, confidence: float = 0.95) -> Interval:
        """Return the two-sided interval."""
        tail = (1 - confidence) / 2
        return Interval(self.bound(tail), self.bound(1 - tail), "bca_cluster")

    def spread_ties(self, step: float) -> None:
        """Spread equal resamples evenly over one step of the lattice that they lie on, so that quantiles are smooth.

        Args:
            step: Distance of neighbouring values.
        """
        places = np.rint(self._sorted / step)
        values, counts = np.unique(places, return_counts=True)
        within = np.concatenate([(np.arange(count) + 0.5) / count - 0.5 for count in counts])
        self._sorted = (np.repeat(values, counts) + within) * step


def _measure_acceleration(totals: Floats, statistic: Statistic) -> float:
    """Estimate the acceleration from the jackknife over clusters; equal clusters are left out once for all."""
    kinds, counts = np.unique(totals, axis=0, return_counts=True)
    left_out = statistic(totals.sum(axis=0) - kinds)
    is_usable = np.isfinite(left_out)
    left_out, counts = left_out[is_usable], counts[is_usable]
    deviations = np.average(left_out, weights=counts) - left_out
    spread = float((counts * deviations**2).sum())
    if spread <= 0:
        return 0.0
    return float((counts * deviations**3).sum() / (6 * spread**1.5))
