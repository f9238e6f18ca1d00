"""Paired comparison by hand-derived cases and small simulations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multinomial

from luthier.instruments.measure.stats.intervals import BcaBootstrap, draw_totals, mean_of_totals
from luthier.instruments.measure.stats.paired import compare_paired, estimate, sample_of_scores, sum_by_cluster
from luthier.instruments.measure.stats.permutation import sign_flip_test
from luthier.instruments.measure.stats.power import detectable_rate, rows_needed


def _rows(count: int) -> list[str]:
    return [str(index) for index in range(count)]


def test_clusters_are_flipped_whole() -> None:
    """Six wins in six rows: p = 2^-6. The same six in three conversations of two: p = 2^-3."""
    lost, won = sample_of_scores([0.0] * 6), sample_of_scores([1.0] * 6)
    alone = compare_paired(lost, won, _rows(6), seed=0)
    together = compare_paired(lost, won, ["a", "a", "b", "b", "c", "c"], seed=0)
    assert alone.flip.p_greater == 2**-6
    assert together.flip.p_greater == 2**-3
    assert (together.num_rows, together.num_clusters, together.discordant) == (6, 3, 6)


def test_a_system_against_itself_has_no_difference_and_p_one() -> None:
    scores = sample_of_scores(np.random.default_rng(0).random(50))
    same = compare_paired(scores, scores, _rows(50), seed=0)
    assert (same.value, same.flip.p_greater, same.flip.p_two_sided, same.discordant) == (0.0, 1.0, 1.0, 0)


def test_no_change_seen_in_few_rows_still_leaves_room_for_some() -> None:
    """With none of 10 rows changed, 1 - 0.05^(1/10) = 25.9 % of new rows may change, at 95 %."""
    scores = sample_of_scores([1.0, 0.0] * 5)
    same = compare_paired(scores, scores, _rows(10), seed=0)
    assert same.bound(0.05) == pytest.approx(-0.2589, abs=1e-4)
    assert same.bound(0.95) == pytest.approx(0.2589, abs=1e-4)
    assert same.is_rough


def test_roughness_follows_rows_and_discordant_rows() -> None:
    first = np.zeros(150)
    second = first.copy()
    second[:15] = 1
    assert not compare_paired(sample_of_scores(first), sample_of_scores(second), _rows(150), seed=0, draws=200).is_rough
    second[14] = 0
    assert compare_paired(sample_of_scores(first), sample_of_scores(second), _rows(150), seed=0, draws=200).is_rough
    second[14] = 1
    pairs = [str(index // 2) for index in range(150)]
    assert compare_paired(sample_of_scores(first), sample_of_scores(second), pairs, seed=0, draws=200).is_rough


def test_swapping_the_systems_mirrors_everything() -> None:
    rng = np.random.default_rng(1)
    first, second = sample_of_scores(rng.random(60)), sample_of_scores(rng.random(60) + 0.1)
    forth = compare_paired(first, second, _rows(60), seed=0)
    back = compare_paired(second, first, _rows(60), seed=0)
    assert back.value == pytest.approx(-forth.value)
    assert back.flip.p_two_sided == pytest.approx(forth.flip.p_two_sided, abs=0.02)
    assert back.interval().low == pytest.approx(-forth.interval().high, abs=0.01)


def test_rates_of_conversations_are_not_given_independent_rows_interval() -> None:
    """Ten identical rows a conversation carry the information of one."""
    scores = np.repeat(np.random.default_rng(2).integers(0, 2, 50), 10).astype(float)
    clusters = [str(index // 10) for index in range(500)]
    clustered = estimate(sample_of_scores(scores), clusters, seed=0)
    independent = estimate(sample_of_scores(scores), _rows(500), seed=0)
    widths = [e.interval.high - e.interval.low for e in (clustered, independent)]
    assert (clustered.interval.method, independent.interval.method) == ("bca_cluster", "wilson")
    assert widths[0] / widths[1] == pytest.approx(np.sqrt(10), rel=0.1)


@pytest.mark.parametrize("kind", ["few values", "many values"])
def test_both_ways_of_drawing_have_the_multinomials_mean_and_variance(kind: str) -> None:
    rng = np.random.default_rng(3)
    values = rng.integers(0, 2, 200) if kind == "few values" else rng.normal(0, 1, 200)
    totals = np.stack([values.astype(float), np.ones(200)], axis=1)
    drawn = draw_totals(totals, draws=20_000, rng=rng)
    assert np.all(drawn[:, 1] == 200)
    assert drawn[:, 0].mean() == pytest.approx(values.sum(), abs=5 * np.sqrt(200 * values.var() / 20_000))
    assert drawn[:, 0].var() == pytest.approx(200 * values.var(), rel=0.05)


def test_coverage_of_the_interval_in_a_small_simulation() -> None:
    """200 intervals at 95 %: between 90 and 99 % cover, at odds of thousands to one. The full check is a benchmark."""
    rng = np.random.default_rng(4)
    covered = 0
    for seed in range(200):
        values = rng.gamma(2.0, 1.0, 60) - 2.0
        totals = np.stack([values, np.ones(60)], axis=1)
        interval = BcaBootstrap(totals, mean_of_totals, seed=seed, draws=1000).interval()
        covered += interval.low <= 0 <= interval.high
    assert 180 <= covered <= 198


def test_false_alarms_keep_the_level_with_clusters_and_not_without() -> None:
    """Rows of a cluster move together; a test of rows cries wolf, a test of clusters does not."""
    rng = np.random.default_rng(5)
    by_cluster = by_row = 0
    for seed in range(300):
        effects = np.repeat(rng.choice([-1.0, 1.0], 20), 5) * rng.integers(0, 2, 100)
        clusters = [str(index // 5) for index in range(100)]
        sums = sum_by_cluster(np.stack([effects, np.ones(100)], axis=1), clusters)[:, 0]
        by_cluster += sign_flip_test(sums, seed=seed).p_greater < 0.05
        by_row += sign_flip_test(effects, seed=seed).p_greater < 0.05
    assert by_cluster <= 26  # 5 % of 300 is 15; 26 lies three standard errors above
    assert by_row > 40


def test_rows_needed_and_detectable_rate_by_hand() -> None:
    """(1.6449 + 0.8416)^2 = 6.183 standard errors squared; six one-sided changes are the fewest with 2^-5 <= 0.05."""
    assert rows_needed(100, 0.05, 0.05) == 619
    assert rows_needed(100, 0.05, 0.0) is None
    assert rows_needed(100, 0.001, 0.5) == 101
    assert detectable_rate(1000) == pytest.approx(0.0079, abs=1e-4)


def test_different_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="same rows"):
        compare_paired(sample_of_scores([1.0]), sample_of_scores([1.0, 0.0]), ["a"], seed=0)


def test_bounds_of_rates_cover_differences_that_lie_between_two_rows() -> None:
    """Exact coverage by enumeration at 1.5 rows of 150, where a bound on whole rows covers too little.

    Every count of wins and losses has a known probability; every third of each keeps the test short.
    """
    n, win, lose = 150, 0.09, 0.08
    rows = _rows(n)
    covered = total = 0.0
    for wins in range(4, 26, 3):
        for losses in range(3, 24, 3):
            chance = multinomial.pmf([wins, losses, n - wins - losses], n, [win, lose, 1 - win - lose])
            first = sample_of_scores(np.arange(n) < losses)
            second = sample_of_scores((np.arange(n) >= losses) & (np.arange(n) < losses + wins))
            interval = compare_paired(first, second, rows, seed=1, draws=1000).interval()
            covered += chance * (interval.low <= win - lose <= interval.high)
            total += chance
    assert 0.93 <= covered / total <= 0.98
