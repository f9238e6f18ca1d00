"""Our statistics against scipy, statsmodels and exhaustive enumeration."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import NormalIndPower
from statsmodels.stats.proportion import proportion_confint

from luthier.instruments.measure.stats.intervals import BcaBootstrap, mean_of_totals, wilson
from luthier.instruments.measure.stats.multiplicity import holm
from luthier.instruments.measure.stats.permutation import mcnemar_exact, sign_flip_test, swap_test
from luthier.instruments.measure.stats.power import cluster_standard_error, detectable_difference, rows_needed

pytestmark = pytest.mark.parity


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (1, 10), (5, 12), (150, 151), (400, 400)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_wilson_equals_statsmodels(successes: int, n: int, confidence: float) -> None:
    ours = wilson(successes, n, confidence=confidence)
    theirs = proportion_confint(successes, n, alpha=1 - confidence, method="wilson")
    assert (ours.low, ours.high) == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize("kind", ["normal", "skewed", "binary"])
def test_bca_equals_scipy_up_to_the_noise_of_draws(kind: str) -> None:
    """Both draw at random, so bounds agree to a few hundredths of a standard error."""
    rng = np.random.default_rng(7)
    values = {
        "normal": rng.normal(0.3, 1, 80),
        "skewed": rng.gamma(1.0, 1.0, 60),
        "binary": (rng.random(400) < 0.4).astype(float),
    }[kind]
    totals = np.stack([values, np.ones_like(values)], axis=1)
    ours = BcaBootstrap(totals, mean_of_totals, seed=1, draws=40_000, is_widened=False).interval()
    theirs = scipy_stats.bootstrap(
        (values,), np.mean, n_resamples=40_000, batch=2_000, method="BCa", rng=np.random.default_rng(2)
    ).confidence_interval
    # Means of 0/1 values lie on a lattice, where a bound may fall on either neighbour.
    noise = 0.04 * values.std() / math.sqrt(len(values)) + (1.01 / len(values) if kind == "binary" else 0.0)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=noise)


def test_sign_flips_by_enumeration_equal_scipys_paired_permutation_test() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.normal(0, 1, 9), rng.normal(0.5, 1, 9)
    ours = sign_flip_test(second - first, seed=0)
    for alternative, p in (("greater", ours.p_greater), ("two-sided", ours.p_two_sided)):
        theirs = scipy_stats.permutation_test(
            (second, first),
            lambda x, y: np.mean(x - y),
            permutation_type="samples",
            alternative=alternative,
            n_resamples=np.inf,
        )
        assert p == pytest.approx(theirs.pvalue, abs=1e-12)
    assert ours.method == "enumeration"


def test_sign_flips_by_convolution_equal_all_arrangements_written_out() -> None:
    differences = np.array([3, -1, 2, 2, 1, 1, -2, 4, 1, 1, -1, 2, 3, -1, 1, 1], dtype=float)
    observed = differences.sum()
    sums = [sum(signs * differences) for signs in itertools.product((1, -1), repeat=len(differences))]
    ours = sign_flip_test(differences, seed=0)
    assert ours.method == "convolution"
    assert ours.p_greater == pytest.approx(np.mean(np.array(sums) >= observed), abs=1e-12)
    assert ours.p_two_sided == pytest.approx(np.mean(np.abs(sums) >= abs(observed)), abs=1e-12)


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (6, 0), (12, 5), (20, 20), (70, 41)])
def test_mcnemar_and_sign_flips_equal_statsmodels_on_single_rows(wins: int, losses: int) -> None:
    theirs = mcnemar([[10, wins], [losses, 10]], exact=True).pvalue
    assert mcnemar_exact(wins, losses) == pytest.approx(theirs, abs=1e-12)
    flips = sign_flip_test(np.array([1.0] * wins + [-1.0] * losses), seed=0)
    assert flips.p_two_sided == pytest.approx(min(1.0, theirs), abs=1e-12)
    assert flips.p_greater == pytest.approx(scipy_stats.binom.sf(wins - 1, wins + losses, 0.5) if wins else 1.0)


def test_monte_carlo_flips_approach_the_exact_p() -> None:
    rng = np.random.default_rng(5)
    differences = rng.integers(-4, 6, 40).astype(float)
    exact = sign_flip_test(differences, seed=0)
    drawn = sign_flip_test(differences * math.pi, seed=0)
    assert (exact.method, drawn.method) == ("convolution", "monte_carlo")
    noise = 4 * math.sqrt(exact.p_greater * (1 - exact.p_greater) / 9_999) + 1e-4
    assert drawn.p_greater == pytest.approx(exact.p_greater, abs=noise)


def test_exchanging_systems_equals_flipping_signs_for_means() -> None:
    rng = np.random.default_rng(8)
    first, second = rng.random((10, 1)), rng.random((10, 1))
    ones = np.ones((10, 1))
    swapped = swap_test(np.hstack([first, ones]), np.hstack([second, ones]), mean_of_totals, seed=0)
    flipped = sign_flip_test((second - first)[:, 0], seed=0)
    assert (swapped.p_greater, swapped.p_two_sided) == (flipped.p_greater, flipped.p_two_sided)


def test_holm_equals_statsmodels() -> None:
    p_values = [0.01, 0.04, 0.03, 0.005, 0.6, 0.04]
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


def test_detectable_difference_and_needed_rows_equal_statsmodels_power() -> None:
    """One sample of differences is statsmodels' normal test with ratio 0."""
    effect = NormalIndPower(ddof=0).solve_power(nobs1=200, alpha=0.05, power=0.8, ratio=0, alternative="two-sided")
    assert detectable_difference(1 / math.sqrt(200)) == pytest.approx(effect, rel=1e-4)
    n = NormalIndPower(ddof=0).solve_power(effect_size=0.1, alpha=0.05, power=0.8, ratio=0, alternative="larger")
    assert rows_needed(100, 1 / math.sqrt(100), 0.1) == math.ceil(n)


def test_cluster_error_equals_statsmodels_cluster_robust_error() -> None:
    import statsmodels.api as sm

    rng = np.random.default_rng(4)
    groups = rng.integers(0, 25, 200)
    values = rng.normal(0, 1, 200) + rng.normal(0, 1, 25)[groups]
    fit = sm.OLS(values, np.ones(200)).fit(
        cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False, "df_correction": False}
    )
    num_clusters = len(np.unique(groups))
    sums = np.array([values[groups == g].sum() for g in np.unique(groups)])
    sizes = np.array([float((groups == g).sum()) for g in np.unique(groups)])
    expected = fit.bse[0] * math.sqrt(num_clusters / (num_clusters - 1))
    assert cluster_standard_error(sums, sizes) == pytest.approx(expected, rel=1e-9)
