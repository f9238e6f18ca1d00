"""Two systems on the same rows: the difference, its interval, its p, and how far to trust them. Read me first.

Rows of one cluster (a conversation, a customer) stand or fall together, so every figure here treats the cluster as
the unit: it is resampled, flipped and counted whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from luthier.instruments.measure.stats.intervals import (
    DRAWS,
    BcaBootstrap,
    Floats,
    Interval,
    Statistic,
    mean_of_totals,
    wilson,
)
from luthier.instruments.measure.stats.permutation import FlipTest, mcnemar_exact, sign_flip_test, swap_test
from luthier.instruments.measure.stats.power import cluster_standard_error, detectable_difference, detectable_rate

MIN_RATE_ROWS: Final = 150
MIN_DISCORDANT: Final = 15
MIN_CLUSTERS: Final = 40
"""Below these the coverage of 95 ± 1 % has not been shown (`make bench AREA=evaluate`), and results say `is_rough`."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One system's totals on every row.

    Attributes:
        totals: What each row adds up to; for means (score, weight).
        statistic: Maps summed totals to the metric's value.
        is_rate: True where every row's score is 0 or 1 and all weigh the same.
        is_mean: True where the statistic is the plain mean of rows of equal weight.

    Shapes:
        N = rows, K = totals a row.
    """

    totals: Floats
    statistic: Statistic = mean_of_totals
    is_rate: bool = False
    is_mean: bool = True


def sample_of_scores(scores: Sequence[float] | Floats) -> Sample:
    """Make a sample of one score a row, averaged."""
    scores = np.asarray(scores, dtype=np.float64)
    totals = np.stack([scores, np.ones_like(scores)], axis=1)
    return Sample(totals, is_rate=bool(np.isin(scores, (0.0, 1.0)).all()))


def sum_by_cluster(totals: Floats, clusters: Sequence[str]) -> Floats:
    """Add up the rows of each cluster, clusters in order of first appearance.

    Shapes:
        N = rows, K = totals a row; the result is (clusters, K).
    """
    number: dict[str, int] = {}
    places = np.array([number.setdefault(cluster, len(number)) for cluster in clusters], dtype=np.int64)
    sums = np.zeros((len(number), totals.shape[1]))
    np.add.at(sums, places, totals)
    return sums


@dataclass(frozen=True, slots=True)
class Estimate:
    """One system's value with its interval."""

    value: float
    interval: Interval
    num_rows: int
    num_clusters: int
    is_rough: bool


def estimate(
    sample: Sample, clusters: Sequence[str], *, seed: int, confidence: float = 0.95, draws: int = DRAWS
) -> Estimate:
    """Bound one system's metric: Wilson for rates of independent rows, else the BCa cluster bootstrap.

    Args:
        sample: The system's totals, at least one row.
        clusters: Cluster of each row.
        seed: Seed of the bootstrap.
        confidence: Coverage aimed at.
        draws: Bootstrap draws.
    """
    totals = sum_by_cluster(sample.totals, clusters)
    num_rows, num_clusters = len(sample.totals), len(totals)
    if sample.is_rate and num_clusters == num_rows:
        successes = float(totals[:, 0].sum())
        return Estimate(
            successes / num_rows, wilson(successes, num_rows, confidence=confidence), num_rows, num_rows, False
        )
    bootstrap = BcaBootstrap(totals, sample.statistic, seed=seed, draws=draws)
    is_rough = num_clusters < MIN_CLUSTERS or bootstrap.is_degenerate
    return Estimate(bootstrap.value, bootstrap.interval(confidence), num_rows, num_clusters, is_rough)


@dataclass(frozen=True, slots=True)
class PairedResult:
    """Second minus first.

    Attributes:
        flip: p-values of the exchange of systems in whole clusters.
        discordant: Rows on which the two differ.
        standard_error: Of the difference, by clusters.
        detectable: Smallest difference that these rows show with 80 % power.
        is_rough: True below the sizes at which the interval's coverage was shown.
        is_bounded: Whether all scores are 0 or 1, so that a difference nobody saw is still bounded.
        mcnemar: Two-sided exact McNemar p, for 0/1 scores of independent rows.
    """

    value: float
    flip: FlipTest
    bootstrap: BcaBootstrap
    num_rows: int
    num_clusters: int
    discordant: int
    standard_error: float
    detectable: float
    is_rough: bool
    is_bounded: bool
    mcnemar: float | None

    def bound(self, probability: float) -> float:
        """Return the one-sided BCa bound: the value below which the true difference lies with this probability.

        Differences of 0/1 scores lie on a lattice of one row, true ones anywhere: the resamples' lattice is smoothed
        and the bound moved outwards by half a row, as a continuity correction. Where no row differs, resampling sees
        no spread; a 0/1 score may then still differ on a share ``1 - tail ** (1 / clusters)`` of new clusters, and the
        bound says so.
        """
        bound = self.bootstrap.bound(probability)
        if not self.is_bounded:
            return bound
        tail = min(probability, 1 - probability)
        unseen = 1.0 - float(tail ** (1 / self.num_clusters))
        reach = unseen if self.bootstrap.is_degenerate else 0.5 / self.num_rows
        return max(-1.0, min(1.0, bound - reach if probability < 0.5 else bound + reach))

    def interval(self, confidence: float = 0.95) -> Interval:
        """Return the two-sided interval."""
        tail = (1 - confidence) / 2
        return Interval(self.bound(tail), self.bound(1 - tail), "bca_cluster")


def compare_paired(
    first: Sample, second: Sample, clusters: Sequence[str], *, seed: int, draws: int = DRAWS
) -> PairedResult:
    """Compare two systems that answered the same rows.

    Args:
        first: Totals of the system to compare with.
        second: Totals of the other, row by row.
        clusters: Cluster of each row.
        seed: Seed of bootstrap and flips.
        draws: Bootstrap draws.

    Raises:
        ValueError: If the two have different rows; rows are matched by the caller.
    """
    if first.totals.shape != second.totals.shape or len(clusters) != len(first.totals):
        message = "paired samples need the same rows"
        raise ValueError(message)
    sums_first = sum_by_cluster(first.totals, clusters)
    sums_second = sum_by_cluster(second.totals, clusters)
    bootstrap = BcaBootstrap(
        np.concatenate([sums_first, sums_second], axis=1), _difference_of(first.statistic), seed=seed, draws=draws
    )
    num_rows, num_clusters = len(clusters), len(sums_first)
    is_rate = first.is_rate and second.is_rate
    if is_rate and not bootstrap.is_degenerate:
        bootstrap.spread_ties(1 / num_rows)
    discordant = int(np.count_nonzero(np.any(first.totals != second.totals, axis=1)))
    if first.is_mean:
        differences = sums_second[:, 0] - sums_first[:, 0]
        flip = sign_flip_test(differences, seed=seed)
        error = cluster_standard_error(differences, sums_first[:, 1])
    else:
        flip = swap_test(sums_first, sums_second, first.statistic, seed=seed)
        error = (bootstrap.bound(0.8413) - bootstrap.bound(0.1587)) / 2
    detectable = detectable_difference(error)
    return PairedResult(
        value=bootstrap.value,
        flip=flip,
        bootstrap=bootstrap,
        num_rows=num_rows,
        num_clusters=num_clusters,
        discordant=discordant,
        standard_error=error,
        detectable=max(detectable, detectable_rate(num_clusters)) if is_rate else detectable,
        is_rough=_is_rough(is_rate, num_clusters, discordant),
        is_bounded=is_rate,
        mcnemar=_mcnemar(first, second) if is_rate and num_clusters == num_rows else None,
    )


def _difference_of(statistic: Statistic) -> Statistic:
    def difference(totals: Floats) -> Floats:
        half = totals.shape[-1] // 2
        return np.asarray(statistic(totals[..., half:]) - statistic(totals[..., :half]))

    return difference


def _is_rough(is_rate: bool, num_clusters: int, discordant: int) -> bool:  # noqa: FBT001  private
    if is_rate:
        return num_clusters < MIN_RATE_ROWS or discordant < MIN_DISCORDANT
    return num_clusters < MIN_CLUSTERS


def _mcnemar(first: Sample, second: Sample) -> float:
    moved = second.totals[:, 0] - first.totals[:, 0]
    return mcnemar_exact(int((moved > 0).sum()), int((moved < 0).sum()))
