"""Windows over a stream: the statistic by hand, the promised rate of false alarms by simulation, a planted change."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2

from luthier.instruments.measure.stats.drift import (
    DailySums,
    Span,
    Tail,
    calibrate,
    locate_change,
    make_baseline,
    scan_windows,
    sum_by_day,
)

RATE = 0.05
NUM_STREAMS = 120


def test_a_windows_statistic_is_the_squared_distance_of_two_means_over_its_variance() -> None:
    """By loops over every window, weekdays told apart, with a day that has no rows."""
    random = np.random.default_rng(0)
    reference, reference_groups = random.normal(size=(140, 3)), np.arange(140) % 7
    stream, days = random.normal(size=(200, 3)), np.sort(random.choice([0, 1, 2, 3, 5, 6, 7, 8, 9], size=200))
    groups = days % 7
    baseline = make_baseline(reference, reference_groups, 7)
    found = scan_windows(sum_by_day(stream, days, groups, baseline), baseline.counts_G, (7, 9))

    for row, length in enumerate((7, 9)):
        for last in range(10):
            inside = (days > last - length) & (days <= last)
            if last < length - 1:
                assert found[row, last] == -np.inf
                continue
            shares = [np.mean(groups[inside] == group) for group in range(7)]
            means = [reference[reference_groups == group].mean(axis=0) for group in range(7)]
            expected = sum(share * mean for share, mean in zip(shares, means, strict=True))
            variance = 1 / inside.sum() + sum(share**2 / 20 for share in shares)
            distance = ((stream[inside].mean(axis=0) - expected) ** 2).sum()
            assert found[row, last] == pytest.approx(distance / variance)


def test_a_stream_shorter_than_a_week_is_one_window_and_few_rows_are_none() -> None:
    daily = DailySums(np.full((3, 1), 10.0), np.full((3, 1), 12.0))

    found = scan_windows(daily, np.array([100.0]), (7, 14))
    assert found[0].tolist() == [-np.inf, -np.inf, pytest.approx(30.0**2 / (36 + 36**2 / 100))]
    assert (scan_windows(DailySums(daily.sums_TD, np.ones((3, 1))), np.array([100.0])) == -np.inf).all()


def draw_stream(
    random: np.random.Generator, *, shift: float = 0.0, season: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Draw 60 days of 20 rows in three skewed dimensions; ``season`` moves weekends, ``shift`` all from day 30."""
    days = np.repeat(np.arange(60), 20)
    rows = random.exponential(size=(len(days), 3)) - 1.0
    rows[:, 0] += season * (days % 7 > 4) + shift * (days >= 30)
    return rows, days


def count_alarms(*, shift: float = 0.0, season: float = 0.0) -> int:
    """Count streams with an alarm, each against a reference of its own with its own calibration."""
    alarms = 0
    for number in range(NUM_STREAMS):
        random = np.random.default_rng(number)
        rows, days = draw_stream(random, season=season)
        reference, groups = rows[: 28 * 20], days[: 28 * 20] % 7
        baseline = make_baseline(reference, groups, 7)
        residuals = reference - baseline.means_GD[groups]
        tail = calibrate(residuals, groups, rows_a_day=20, random=random, draws=200)
        stream, days = draw_stream(random, shift=shift, season=season)
        found = scan_windows(sum_by_day(stream, days, days % 7, baseline), baseline.counts_G)
        alarms += bool(found.max() > tail.threshold(RATE))
    return alarms


def test_without_drift_alarms_come_as_seldom_as_promised() -> None:
    """6 of 120 are promised; 14 or more would happen twice in a thousand times by chance."""
    assert count_alarms() <= 13


def test_a_weekly_season_raises_no_more_alarms_than_none() -> None:
    """Weekends that lie two standard deviations away, in reference and stream alike."""
    assert count_alarms(season=2.0) <= 13


def test_a_shift_of_a_quarter_standard_deviation_is_found() -> None:
    """Four weeks of 20 rows against four weeks: (0.25)^2 / (2 / 560) = 17.5 beside the 3 of chance; near 14 alarms."""
    assert count_alarms(shift=0.25) >= 0.75 * NUM_STREAMS


def test_the_tail_of_squared_normals_is_met_far_out() -> None:
    """One horizon of 60 days is 12 to 25 weeks' worth of independent looks: solve 1 - F(x)^k = 0.0025 for both."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(2000, 1))
    rows = (rows - rows.mean()) / rows.std()
    tail = calibrate(rows, np.zeros(2000, dtype=np.int64), rows_a_day=20, random=random)
    low, high = (float(chi2.isf(1 - (1 - 0.0025) ** (1 / looks), 1)) for looks in (12, 25))

    assert low - 0.5 < tail.threshold(0.0025) < high + 2.0


def test_the_threshold_rises_as_fewer_false_alarms_are_wanted() -> None:
    tail = Tail(level=20.0, scale=2.0)

    assert tail.threshold(0.05) == 20.0
    assert tail.threshold(0.005) == pytest.approx(20.0 + 2.0 * np.log(10))
    assert tail.threshold(0.4) == 20.0, "above one in twenty nothing was fitted; the level is the safe side"


@pytest.mark.parametrize(("first", "last"), [(30, 59), (20, 33)])
def test_the_days_of_a_planted_change_are_found(first: int, last: int) -> None:
    random = np.random.default_rng(1)
    days = np.repeat(np.arange(60), 50)
    rows = random.normal(size=(len(days), 1)) + 0.8 * ((days >= first) & (days <= last))[:, None]
    baseline = make_baseline(np.zeros((1000, 1)), np.zeros(1000, dtype=np.int64), 1)
    daily = sum_by_day(rows, days, np.zeros_like(days), baseline)

    span = locate_change(daily, baseline.counts_G, found=first + 5)
    assert abs(span.first - first) <= 1
    assert abs(span.last - last) <= 1


def test_a_change_of_one_day_is_that_day() -> None:
    daily = DailySums(np.array([[0.0], [0.0], [40.0], [0.0]]), np.full((4, 1), 40.0))

    assert locate_change(daily, np.array([1000.0]), found=2) == Span(2, 2)
