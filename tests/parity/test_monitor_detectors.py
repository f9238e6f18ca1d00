"""The two detectors against scipy, scikit-learn and formulas written out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu
from sklearn.decomposition import PCA

from luthier.foundation.registry import load_config, load_runtime
from luthier.stages.monitor.detector import Shift

RANK, MMD = load_runtime("detectors", "rank"), load_runtime("detectors", "mmd")
RANK_CONFIG, MMD_CONFIG = load_config("detectors", "rank"), load_config("detectors", "mmd")


def no_groups(rows: np.ndarray) -> np.ndarray:
    return np.zeros(len(rows), dtype=np.int64)


def make_shift(scores: np.ndarray, reference_scores: np.ndarray) -> Shift:
    mean = scores.mean(axis=0) - reference_scores.mean(axis=0)
    return Shift(mean, scores.var(axis=0), len(scores), 1 / len(reference_scores))


@pytest.mark.parametrize("digits", [6, 0], ids=["continuous", "many ties"])
def test_the_size_of_a_rank_shift_is_mann_and_whitneys_u_over_n_m(digits: int) -> None:
    random = np.random.default_rng(0)
    reference = np.round(random.normal(0, 3, size=(400, 1)), digits)
    traffic = np.round(random.normal(1, 3, size=(150, 1)), digits)
    state = RANK.fit(reference, no_groups(reference), RANK_CONFIG())
    size = RANK.size(make_shift(RANK.score(traffic, state), RANK.score(reference, state)), state)

    theirs = mannwhitneyu(traffic[:, 0], reference[:, 0]).statistic / (400 * 150)
    assert size.value == pytest.approx(theirs, abs=1e-12)
    assert size.interval[0] < size.value < size.interval[1]


def test_the_squared_rank_statistic_is_mann_and_whitneys_z() -> None:
    """Without ties; theirs takes the variance (n + m + 1) / 12 n m, ours the ranks' own, larger by 1 in 1,000."""
    random = np.random.default_rng(1)
    reference, traffic = random.normal(size=(500, 1)), random.normal(0.2, 1, size=(300, 1))
    state = RANK.fit(reference, no_groups(reference), RANK_CONFIG())
    mean = RANK.score(traffic, state).mean() - RANK.score(reference, state).mean()
    ours = mean**2 / (1 / 300 + 1 / 500)

    u = mannwhitneyu(traffic[:, 0], reference[:, 0]).statistic
    theirs = (u - 300 * 500 / 2) ** 2 / (300 * 500 * 801 / 12)
    assert ours == pytest.approx(theirs, rel=3e-3)


def test_the_rank_interval_covers_the_true_chance_as_often_as_it_says() -> None:
    """Normals a standard deviation apart: the chance is Phi(1 / sqrt 2) = 0.76025."""
    random = np.random.default_rng(2)
    covered = 0
    for _ in range(400):
        reference, traffic = random.normal(size=(300, 1)), random.normal(1, 1, size=(120, 1))
        state = RANK.fit(reference, no_groups(reference), RANK_CONFIG())
        size = RANK.size(make_shift(RANK.score(traffic, state), RANK.score(reference, state)), state)
        covered += size.interval[0] <= 0.76025 <= size.interval[1]
    assert covered >= 0.9 * 400


def test_a_large_reference_keeps_quantiles_that_rank_as_all_values_would() -> None:
    reference = np.random.default_rng(3).lognormal(size=(50_000, 1))
    few = RANK.fit(reference, no_groups(reference), RANK_CONFIG(quantiles=512))
    all_ = RANK.fit(reference, no_groups(reference), RANK_CONFIG(quantiles=65_536))
    traffic = np.linspace(0.1, 5, 50)[:, None]

    assert len(few["ordered"]) == 512
    ranks = [RANK.score(traffic, state) * state["spread"] for state in (few, all_)]
    np.testing.assert_allclose(*ranks, atol=1 / 512)


def test_a_number_that_never_varies_cannot_be_watched() -> None:
    assert RANK.fit(np.ones((100, 1)), np.zeros(100, dtype=np.int64), RANK_CONFIG()) is None
    assert MMD.fit(np.ones((100, 4)), np.zeros(100, dtype=np.int64), MMD_CONFIG()) is None


def make_vectors(num: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.normal(size=(num, 12)) * np.linspace(0.5, 2, 12) + 3


def test_the_directions_are_those_of_whitened_principal_components() -> None:
    reference, traffic = make_vectors(400, 0), make_vectors(50, 1)
    state = MMD.fit(reference, no_groups(reference), MMD_CONFIG(dimensions=5))

    def to_units(rows: np.ndarray) -> np.ndarray:
        centred = rows - reference.mean(axis=0)
        return centred / np.linalg.norm(centred, axis=1, keepdims=True)

    theirs = PCA(n_components=5, whiten=True, svd_solver="full").fit(to_units(reference))
    expected = theirs.transform(to_units(traffic)) - theirs.transform(to_units(reference)).mean(axis=0)
    found = MMD.score(traffic, state) - MMD.score(reference, state).mean(axis=0)
    # they divide by n - 1, we by n; the state is kept in float32
    np.testing.assert_allclose(np.abs(found), np.abs(expected) * np.sqrt(400 / 399), atol=2e-5)


def test_the_squared_distance_is_the_maximum_mean_discrepancy_of_its_kernel() -> None:
    """Gretton et al. 2012, equation 5: mean k(x, x') + mean k(y, y') - 2 mean k(x, y), all pairs."""
    reference, traffic = make_vectors(300, 0), make_vectors(80, 1) + 0.3
    state = MMD.fit(reference, no_groups(reference), MMD_CONFIG(dimensions=6))
    x, y = MMD.score(reference, state), MMD.score(traffic, state)

    direct = (x @ x.T).mean() + (y @ y.T).mean() - 2 * (x @ y.T).mean()
    assert ((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum() == pytest.approx(direct, rel=1e-9)


def test_a_tenth_of_the_rows_bounds_the_directions() -> None:
    reference = make_vectors(40, 0)

    assert MMD.fit(reference, no_groups(reference), MMD_CONFIG())["directions"].shape == (12, 4)


@pytest.mark.parametrize("distance", [0.0, 0.3, 1.0])
def test_a_distance_is_met_without_bias_and_its_interval_covers_it_as_often_as_it_says(distance: float) -> None:
    """Means of D = 8 standard normals at a known distance; chance alone adds 8 (1/100 + 1/400) = 0.1 to its square."""
    random = np.random.default_rng(4)
    mean = np.zeros(8)
    mean[0] = distance
    covered, values = 0, []
    for _ in range(300):
        shift = Shift(mean + random.normal(size=8) * np.sqrt(1 / 100 + 1 / 400), np.ones(8), 100, 1 / 400)
        size = MMD.size(shift, {})
        covered += size.interval[0] <= distance <= size.interval[1]
        values.append(size.value)
    assert covered >= 0.92 * 300
    assert np.median(values) == pytest.approx(distance, abs=0.06)
