"""Has a stream of rows moved away from its reference? Windows of whole weeks, one threshold for all looks.

A row is a point of D standardised numbers: in the reference each has mean 0 and variance 1. A window's statistic is

    |sum of (row - mean of the reference's same group)|^2 / (n + sum over groups g of n_g^2 / m_g)

for n rows in the window, n_g of them in group g, and m_g rows of that group in the reference: the squared distance of
the two means over its variance. Groups are weekdays where the reference knows them, so a weekend is compared with
weekends; windows are whole weeks, so each weekday stands in them once. A stream is looked at every day, at every
length: the threshold is set on the greatest statistic of a whole horizon of looks, simulated by drawing both the
reference and the stream from the reference's own rows. The error of the reference is therefore part of it.

Shapes:
    N rows, D dimensions, G groups, T days, L window lengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

WINDOW_DAYS: Final = (7, 14, 28)
HORIZON_DAYS: Final = 60
MIN_WINDOW_ROWS: Final = 30
DRAWS: Final = 4_000
TAIL_SHARE: Final = 0.05
LEAST_SCALE: Final = 2.0
"""Scale of the far tail of a squared normal: no maximum of such has a lighter one."""
MAX_DRAWN_A_DAY: Final = 200
"""Beyond, a day's mean is normal whatever its rows are: fewer are drawn, and as many fewer of the reference."""
LONGEST_AFTER_DAYS: Final = 90
DRAWN_NUMBERS: Final = 1 << 20
"""Numbers drawn at once: what fits a cache is faster than all together."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """What the reference's rows are on average, by group.

    Attributes:
        means_GD: Mean of each group; one group where weekdays are not told apart.
        counts_G: Rows of each.
    """

    means_GD: Floats
    counts_G: Floats


@dataclass(frozen=True, slots=True)
class DailySums:
    """A stream by day, as differences from the baseline.

    Attributes:
        sums_TD: Sum over the day's rows of their difference from the mean of their group.
        counts_TG: Rows of the day by group.
    """

    sums_TD: Floats
    counts_TG: Floats


@dataclass(frozen=True, slots=True)
class Tail:
    """The upper tail of the greatest statistic of a horizon without drift.

    Attributes:
        level: What one horizon in twenty exceeds.
        scale: Mean excess over ``level``.
    """

    level: float
    scale: float

    def threshold(self, rate: float) -> float:
        """Return what a horizon without drift exceeds with this chance, at most one in twenty.

        Numerics:
            Excesses are taken as exponential. A sum of squared normals has a lighter tail than that until far out,
            where its scale is 2; since the scale is at least 2, the threshold errs to the safe side, and it is
            steadier than the third greatest of a thousand draws.
        """
        return self.level + self.scale * float(np.log(TAIL_SHARE / min(rate, TAIL_SHARE)))


@dataclass(frozen=True, slots=True)
class Span:
    """Days of a stream, both ends included."""

    first: int
    last: int


def make_baseline(scores_ND: Floats, groups_N: Integers, num_groups: int) -> Baseline:
    """Average the reference's rows by group; every group must have a row."""
    counts_G = np.bincount(groups_N, minlength=num_groups).astype(np.float64)
    sums_GD = np.zeros((num_groups, scores_ND.shape[1]))
    np.add.at(sums_GD, groups_N, scores_ND)
    return Baseline(sums_GD / counts_G[:, None], counts_G)


def sum_by_day(scores_ND: Floats, days_N: Integers, groups_N: Integers, baseline: Baseline) -> DailySums:
    """Sum a stream by day.

    Args:
        scores_ND: The stream's rows.
        days_N: Day of each row, from 0.
        groups_N: Group of each row.
        baseline: What is subtracted from each.
    """
    num_days = int(days_N.max()) + 1
    sums_TD = np.zeros((num_days, scores_ND.shape[1]))
    np.add.at(sums_TD, days_N, scores_ND - baseline.means_GD[groups_N])
    counts_TG = np.zeros((num_days, len(baseline.counts_G)))
    np.add.at(counts_TG, (days_N, groups_N), 1.0)
    return DailySums(sums_TD, counts_TG)


def scan_windows(daily: DailySums, reference_counts_G: Floats, lengths: Sequence[int] = WINDOW_DAYS) -> Floats:
    """Compute the statistic of every window.

    Args:
        daily: The stream.
        reference_counts_G: Rows of the reference by group.
        lengths: Days of the windows.

    Returns:
        Statistic by length and by the window's last day; minus infinity where there are fewer days or rows. A stream
        shorter than the shortest window is one window.

    Shapes:
        (L, T), or (B, L, T) for sums of B streams with the same counts.
    """
    sums, counts = _accumulate(daily.sums_TD), _accumulate(daily.counts_TG)
    num_days = len(daily.counts_TG)
    found = np.full((*sums.shape[:-2], len(lengths), num_days), -np.inf)
    for row, length in enumerate(min(days, num_days) if num_days < min(lengths) else days for days in lengths):
        if length <= num_days:
            moved = sums[..., length:, :] - sums[..., :-length, :]
            found[..., row, length - 1 :] = _compare(moved, counts[length:] - counts[:-length], reference_counts_G)
    return found


def _accumulate(parts: Floats) -> Floats:
    """Running sums over days that begin with zero."""
    return np.concatenate([np.zeros_like(parts[..., :1, :]), np.cumsum(parts, axis=-2)], axis=-2)


def _compare(sums_WD: Floats, counts_WG: Floats, reference_counts_G: Floats) -> Floats:
    """The statistic of windows W."""
    rows_W = counts_WG.sum(axis=1)
    variances_W = rows_W + (counts_WG**2 / reference_counts_G).sum(axis=1)
    is_full = rows_W >= MIN_WINDOW_ROWS
    return np.where(is_full, (sums_WD**2).sum(axis=-1) / np.where(is_full, variances_W, 1.0), -np.inf)


def calibrate(
    residuals_ND: Floats,
    groups_N: Integers,
    *,
    rows_a_day: float,
    random: np.random.Generator,
    lengths: Sequence[int] = WINDOW_DAYS,
    draws: int = DRAWS,
) -> Tail:
    """Draw horizons without drift from the reference's own rows and fit the tail of their greatest statistics.

    Args:
        residuals_ND: The reference's rows less the mean of their group.
        groups_N: Their groups, 0 to 6 for weekdays, or all 0.
        rows_a_day: Rows that a day of the stream has.
        random: Where the draws come from.
        lengths: Days of the windows.
        draws: Horizons.
    """
    counts_G = np.bincount(groups_N)
    rows_ND = residuals_ND[np.argsort(groups_N, kind="stable")]
    starts_G = np.cumsum(counts_G) - counts_G
    a_day = max(1, round(min(rows_a_day, MAX_DRAWN_A_DAY)))
    sizes_G = np.maximum(1, np.round(counts_G * a_day / max(rows_a_day, 1.0))).astype(np.int64)
    group_T = np.arange(HORIZON_DAYS) % len(counts_G)
    counts_TG = np.zeros((HORIZON_DAYS, len(counts_G)))
    counts_TG[np.arange(HORIZON_DAYS), group_T] = a_day
    at_once = max(1, DRAWN_NUMBERS // (HORIZON_DAYS * a_day * rows_ND.shape[1]))
    greatest = []
    for first in range(0, draws, at_once):
        size = min(at_once, draws - first)
        drawn = starts_G[group_T][:, None] + _draw(random, counts_G[group_T], (size, HORIZON_DAYS, a_day))
        means = [
            rows_ND[start + random.integers(count, size=(size, own))].mean(axis=1)
            for start, count, own in zip(starts_G, counts_G, sizes_G, strict=True)
        ]
        sums = rows_ND[drawn].sum(axis=2) - a_day * np.stack(means, axis=1)[:, group_T]
        found = scan_windows(DailySums(sums, counts_TG), sizes_G.astype(np.float64), lengths)
        greatest.append(found.max(axis=(1, 2)))
    every = np.concatenate(greatest)
    level = float(np.quantile(every, 1.0 - TAIL_SHARE))
    return Tail(level, max(LEAST_SCALE, float((every[every > level] - level).mean())))


def _draw(random: np.random.Generator, counts_T: Integers, size: tuple[int, int, int]) -> Integers:
    """Draw places below each day's own count."""
    return (random.random(size) * counts_T[:, None]).astype(np.int64)


def locate_change(daily: DailySums, reference_counts_G: Floats, *, found: int) -> Span:
    """Find the days that differ most, among all stretches that hold the day on which the alarm came.

    Args:
        daily: The stream.
        reference_counts_G: Rows of the reference by group.
        found: The day of the alarm.

    Returns:
        The likeliest stretch for a shift of the mean with a known mean before it.
    """
    sums, counts = _accumulate(daily.sums_TD), _accumulate(daily.counts_TG)
    last = min(len(daily.sums_TD), found + LONGEST_AFTER_DAYS)
    best, span = -np.inf, Span(0, found)
    for first in range(found + 1):
        ends = slice(found + 1, last + 1)
        values = _compare(sums[ends] - sums[first], counts[ends] - counts[first], reference_counts_G)
        at = int(values.argmax())
        if values[at] > best:
            best, span = float(values[at]), Span(first, found + at)
    return span
