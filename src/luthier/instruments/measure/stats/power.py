"""How small a difference the rows can show, and how many rows would show the one that was seen."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from scipy.stats import gamma, norm

from luthier.instruments.measure.stats.intervals import Floats

POWER: Final = 0.8


def cluster_standard_error(differences: Floats, sizes: Floats) -> float:
    """Return the standard error of the mean difference a row, whole clusters being the independent units.

    Args:
        differences: Sum of differences in each cluster.
        sizes: Rows in each cluster.

    Returns:
        The error; 0 for fewer than two clusters.

    Shapes:
        G = clusters.

    Source:
        Miller 2024, arXiv:2411.00640, section 2.2, with the factor G / (G - 1).
    """
    num_clusters = len(sizes)
    if num_clusters < 2:
        return 0.0
    total = float(sizes.sum())
    residuals = differences - sizes * (differences.sum() / total)
    return math.sqrt(float(np.square(residuals).sum()) * num_clusters / (num_clusters - 1)) / total


def detectable_difference(standard_error: float, *, alpha: float = 0.05, power: float = POWER) -> float:
    """Return the smallest true difference that a two-sided test finds with this power.

    Args:
        standard_error: Of the mean difference, at the rows at hand.
        alpha: Level of the two-sided test.
        power: Chance of finding it.

    Source:
        arXiv:2411.00640, section 5: (z_{1-alpha/2} + z_power) standard errors.
    """
    return float(norm.ppf(1 - alpha / 2) + norm.ppf(power)) * standard_error


def detectable_rate(n: int, *, alpha: float = 0.05, power: float = POWER) -> float:
    """Return the smallest gain in 0/1 scores that an exact paired test can find where nothing is ever lost.

    The test needs k one-sided changes with 2 * 0.5^k <= alpha; a rate r brings at least k of them among n rows with
    this power when n r is the power's quantile of a gamma distribution of shape k (rare changes are Poisson).
    """
    changes = math.ceil(1 - math.log2(alpha))
    return min(1.0, float(gamma.ppf(power, changes)) / n)


def rows_needed(
    n: int, standard_error: float, effect: float, *, alpha: float = 0.05, power: float = POWER
) -> int | None:
    """Return how many rows would settle a one-sided question if the effect is what it seems to be.

    Args:
        n: Rows at hand.
        standard_error: Of the mean difference at these rows.
        effect: Distance between the difference seen and the one required.
        alpha: Level of the one-sided test.
        power: Chance of settling it.

    Returns:
        Rows, more than ``n``; None where no number of rows like these would.
    """
    if effect == 0 or standard_error == 0:
        return None
    factor = float(norm.ppf(1 - alpha) + norm.ppf(power)) * standard_error / abs(effect)
    return max(n + 1, math.ceil(n * factor * factor))
