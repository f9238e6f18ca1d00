"""Are the intervals and tests what they say? Coverage and false alarms by simulation and by enumeration.

Run by ``make bench AREA=evaluate``. 0/1 scores are enumerated: for a number of rows and chances of winning and losing a
row, every count of wins and losses has a known probability, so coverage has no noise but the bootstrap's own. The last
line is one JSON object. ``--share 0.1`` takes a tenth of the repetitions.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
from scipy.stats import multinomial

sys.path.insert(0, str(Path(__file__).parents[1]))
from record import REPOSITORY, write_results  # found by the line above

from luthier.instruments.measure.stats.intervals import BcaBootstrap, draw_totals, mean_of_totals
from luthier.instruments.measure.stats.paired import MIN_DISCORDANT, compare_paired, sample_of_scores, sum_by_cluster
from luthier.instruments.measure.stats.permutation import sign_flip_test

REPETITIONS = 3_000
ALARM_REPETITIONS = 20_000
DRAWS = 2_000
FLIPS = 999
ALPHA = 0.05
MIN_RATE_CHANGES = 18
"""Rows expected to change: below, the condition of 15 that did would itself select unusual samples."""
TINY = 1e-9
"""Sums of the same numbers in another order differ by less."""

Draw = Callable[[np.random.Generator], tuple[np.ndarray, list[str]]]


def independent(draw: Callable[[np.random.Generator], np.ndarray]) -> Draw:
    """Make every row its own cluster."""
    return lambda rng: (values := draw(rng), [str(i) for i in range(len(values))])


def clustered(num_clusters: int, size: int, shared: float) -> Draw:
    """Draw rows whose variance is shared within clusters by this fraction (ICC)."""

    def draw(rng: np.random.Generator) -> tuple[np.ndarray, list[str]]:
        between = np.repeat(rng.normal(0, shared**0.5, num_clusters), size)
        values = between + rng.normal(0, (1 - shared) ** 0.5, num_clusters * size)
        return values, [str(i // size) for i in range(num_clusters * size)]

    return draw


CONTINUOUS: dict[str, Draw] = {
    "normal 40": independent(lambda rng: rng.normal(0, 1, 40)),
    "normal 150": independent(lambda rng: rng.normal(0, 1, 150)),
    "t5 80": independent(lambda rng: rng.standard_t(5, 80)),
    "skewed 60": independent(lambda rng: rng.gamma(2, 1, 60) - 2),
    "skewed 200": independent(lambda rng: rng.gamma(2, 1, 200) - 2),
    "50 clusters of 10, ICC 0.5": clustered(50, 10, 0.5),
    "100 clusters of 4, ICC 0.2": clustered(100, 4, 0.2),
}
SYMMETRIC = ("normal 40", "normal 150", "t5 80", "50 clusters of 10, ICC 0.5", "100 clusters of 4, ICC 0.2")
RATES = [
    (n, win, lose)
    for n in (150, 400)
    for win in (0.05, 0.09, 0.16)
    for lose in (0.03, 0.08)
    if n * (win + lose) >= MIN_RATE_CHANGES
]


def to_totals(values: np.ndarray, clusters: list[str]) -> np.ndarray:
    """Return (sum, rows) of each cluster."""
    return sum_by_cluster(np.stack([values, np.ones_like(values)], axis=1), clusters)


def measure_coverage(draw: Draw, repetitions: int) -> dict[str, float]:
    """Return how often the interval holds the true difference 0, and how often each one-sided bound misses it."""
    rng = np.random.default_rng(1)
    covered = above = below = 0
    for seed in range(repetitions):
        bootstrap = BcaBootstrap(to_totals(*draw(rng)), mean_of_totals, seed=seed, draws=DRAWS)
        interval = bootstrap.interval()
        covered += interval.low <= 0 <= interval.high
        above += bootstrap.bound(ALPHA) > 0
        below += bootstrap.bound(1 - ALPHA) < 0
    return {"coverage": covered / repetitions, "above": above / repetitions, "below": below / repetitions}


def measure_alarms(draw: Draw, repetitions: int) -> float:
    """Return how often the one-sided sign-flip test sees a gain where there is none."""
    rng = np.random.default_rng(2)
    alarms = 0
    for seed in range(repetitions):
        sums = to_totals(*draw(rng))[:, 0]
        alarms += sign_flip_test(sums, seed=seed, flips=FLIPS).p_greater < ALPHA
    return alarms / repetitions


@cache
def bound_rates(n: int, wins: int, losses: int) -> tuple[float, float, float, float]:
    """Return the two-sided interval and the one-sided bounds of one outcome."""
    first = np.concatenate([np.zeros(wins), np.ones(losses), np.zeros(n - wins - losses)])
    second = np.concatenate([np.ones(wins), np.zeros(n - wins)])
    rows = [str(i) for i in range(n)]
    result = compare_paired(sample_of_scores(first), sample_of_scores(second), rows, seed=1, draws=DRAWS)
    interval = result.interval()
    return interval.low, interval.high, result.bound(ALPHA), result.bound(1 - ALPHA)


def list_outcomes(n: int, win: float, lose: float) -> Iterator[tuple[int, int, float]]:
    """Yield outcomes that are not called rough, with their probabilities."""
    for wins in range(n + 1):
        for losses in range(max(0, MIN_DISCORDANT - wins), n + 1 - wins):
            chance = float(multinomial.pmf([wins, losses, n - wins - losses], n, [win, lose, 1 - win - lose]))
            if chance > 1e-6:
                yield wins, losses, chance


def enumerate_rates(n: int, win: float, lose: float) -> dict[str, float]:
    """Return coverage and misses of 0/1 scores, given that the result is not called rough."""
    true = win - lose
    total = covered = above = below = 0.0
    for wins, losses, chance in list_outcomes(n, win, lose):
        low, high, lower, upper = bound_rates(n, wins, losses)
        total += chance
        covered += chance * (low - TINY <= true <= high + TINY)
        above += chance * (lower > true + TINY)
        below += chance * (upper < true - TINY)
    return {"coverage": covered / total, "above": above / total, "below": below / total}


def enumerate_alarms(n: int, change: float) -> float:
    """Return how often the exact test on 0/1 scores sees a gain where wins and losses are equally likely."""
    alarms: dict[tuple[int, int], bool] = {}
    total = 0.0
    for wins, losses, chance in list_outcomes(n, change / 2, change / 2):
        key = (wins, losses)
        if key not in alarms:
            flips = sign_flip_test(np.array([1.0] * wins + [-1.0] * losses), seed=0)
            alarms[key] = flips.p_greater < ALPHA
        total += chance * alarms[key]
    return total


def simulate_cluster_alarms(repetitions: int) -> float:
    """Return the same for 0/1 scores of 60 conversations of 4 turns that stand or fall together."""
    rng = np.random.default_rng(3)
    alarms = 0
    for seed in range(repetitions):
        leaning = np.repeat(rng.choice([-1.0, 1.0], 60), 4) * (rng.random(240) < 0.3)
        sums = to_totals(leaning, [str(i // 4) for i in range(240)])[:, 0]
        alarms += sign_flip_test(sums, seed=seed).p_greater < ALPHA
    return alarms / repetitions


def time_large_bootstrap() -> float:
    """Return the seconds of 10,000 draws over 100,000 paired 0/1 rows."""
    rng = np.random.default_rng(4)
    values = rng.choice([-1.0, 0.0, 1.0], 100_000, p=[0.05, 0.85, 0.1])
    started = time.perf_counter()
    draw_totals(np.stack([values, np.ones_like(values)], axis=1), draws=10_000, rng=rng)
    return time.perf_counter() - started


def say(sentence: str) -> None:
    """Show progress beside the result."""
    print(sentence, file=sys.stderr, flush=True)


def main() -> None:
    """Measure everything and print one JSON object last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="share of the repetitions")
    share = parser.parse_args().share
    repetitions, alarm_repetitions = int(REPETITIONS * share), int(ALARM_REPETITIONS * share)
    continuous = {}
    for name, draw in CONTINUOUS.items():
        continuous[name] = measure_coverage(draw, repetitions)
        say(f"{name}: {continuous[name]}")
    alarms = {name: measure_alarms(CONTINUOUS[name], alarm_repetitions) for name in SYMMETRIC}
    say(f"sign-flip alarms: {alarms}")
    rates = {}
    for cell in RATES:
        rates[cell] = enumerate_rates(*cell)
        say(f"0/1 scores {cell}: {rates[cell]}")
    discrete = [enumerate_alarms(n, change) for n in (150, 400) for change in (0.1, 0.2, 0.4)]
    discrete.append(simulate_cluster_alarms(alarm_repetitions))
    say(f"discrete alarms: {discrete}")
    covered = [found["coverage"] for found in rates.values()]
    result = {
        "coverage_continuous_min": min(found["coverage"] for found in continuous.values()),
        "coverage_continuous_max": max(found["coverage"] for found in continuous.values()),
        "coverage_rates_min": min(covered),
        "coverage_rates_mean": float(np.mean(covered)),
        "coverage_rates_max": max(covered),
        "false_alarm_continuous_min": min(alarms.values()),
        "false_alarm_continuous_max": max(alarms.values()),
        "false_alarm_discrete_max": max(discrete),
        "false_alarm_bound_continuous_max": max(found["above"] for found in continuous.values()),
        "false_alarm_bound_rates_max": max(found["above"] for found in rates.values()),
        "bootstrap_100k_rows_seconds": time_large_bootstrap(),
    }
    ratios = {key: round(value, 4) for key, value in result.items()}
    cases = {
        "continuous": continuous,
        "sign_flip_alarms": alarms,
        "rates": {str(cell): found for cell, found in rates.items()},
        "discrete_alarms": discrete,
    }
    path = write_results("evaluate", ratios=ratios, cases=cases, share=share)
    say(f"results: {path.relative_to(REPOSITORY)}")
    print(json.dumps(ratios))


if __name__ == "__main__":
    main()
