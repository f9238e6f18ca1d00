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
DRAWS: Final = 1_000
TAIL_SHARE: Final = 0.1
MAX_DRAWN_A_DAY: Final = 200
"""Beyond, a day's mean is normal whatever its rows are: fewer are drawn, and as many fewer of the reference."""
LONGEST_AFTER_DAYS: Final = 90


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
        level: What one horizon in ten exceeds.
        scale: Mean excess over ``level``.
    """

    level: float
    scale: float

    def threshold(self, rate: float) -> float:
        """Return what a horizon without drift exceeds with this chance, at most 0.1.

        Numerics:
            Excesses are taken as exponential. The statistic is a maximum of squared normals, whose tail is no heavier,
            so the threshold errs to the safe side, and is steadier than the 999th of 1,000 draws.
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
        (L, T).
    """
    sums, counts = _accumulate(daily)
    num_days = len(daily.sums_TD)
    found_LT = np.full((len(lengths), num_days), -np.inf)
    for row, length in enumerate(min(days, num_days) if num_days < min(lengths) else days for days in lengths):
        if length <= num_days:
            found_LT[row, length - 1 :] = _compare(
                sums[length:] - sums[:-length], counts[length:] - counts[:-length], reference_counts_G
            )
    return found_LT


def _accumulate(daily: DailySums) -> tuple[Floats, Floats]:
    """Running sums that begin with zero."""
    return tuple(
        np.concatenate([np.zeros((1, part.shape[1])), np.cumsum(part, axis=0)])
        for part in (daily.sums_TD, daily.counts_TG)
    )  # type: ignore[return-value]


def _compare(sums_WD: Floats, counts_WG: Floats, reference_counts_G: Floats) -> Floats:
    """The statistic of windows W."""
    rows_W = counts_WG.sum(axis=1)
    variances_W = rows_W + (counts_WG**2 / reference_counts_G).sum(axis=1)
    is_full = rows_W >= MIN_WINDOW_ROWS
    return np.where(is_full, (sums_WD**2).sum(axis=1) / np.where(is_full, variances_W, 1.0), -np.inf)


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
    num_groups = int(groups_N.max()) + 1
    members = [residuals_ND[groups_N == group] for group in range(num_groups)]
    a_day = max(1, round(min(rows_a_day, MAX_DRAWN_A_DAY)))
    sizes = [max(1, round(len(rows) * a_day / max(rows_a_day, 1.0))) for rows in members]
    days = [np.arange(group, HORIZON_DAYS, num_groups) for group in range(num_groups)]
    counts_TG = np.zeros((HORIZON_DAYS, num_groups))
    sums_TD = np.empty((HORIZON_DAYS, residuals_ND.shape[1]))
    greatest = np.empty(draws)
    for draw in range(draws):
        for group, rows in enumerate(members):
            drawn = random.integers(len(rows), size=(len(days[group]), a_day))
            mean = rows[random.integers(len(rows), size=sizes[group])].mean(axis=0)
            sums_TD[days[group]] = rows[drawn].sum(axis=1) - a_day * mean
            counts_TG[days[group], group] = a_day
        found = scan_windows(DailySums(sums_TD, counts_TG), np.array(sizes, dtype=np.float64), lengths)
        greatest[draw] = found.max()
    level = float(np.quantile(greatest, 1.0 - TAIL_SHARE))
    return Tail(level, float((greatest[greatest > level] - level).mean()))


def locate_change(daily: DailySums, reference_counts_G: Floats, *, found: int) -> Span:
    """Find the days that differ most, among all stretches that hold the day on which the alarm came.

    Args:
        daily: The stream.
        reference_counts_G: Rows of the reference by group.
        found: The day of the alarm.

    Returns:
        The likeliest stretch for a shift of the mean with a known mean before it.
    """
    sums, counts = _accumulate(daily)
    last = min(len(daily.sums_TD), found + LONGEST_AFTER_DAYS)
    best, span = -np.inf, Span(0, found)
    for first in range(found + 1):
        ends = slice(found + 1, last + 1)
        values = _compare(sums[ends] - sums[first], counts[ends] - counts[first], reference_counts_G)
        at = int(values.argmax())
        if values[at] > best:
            best, span = float(values[at]), Span(first, found + at)
    return span
