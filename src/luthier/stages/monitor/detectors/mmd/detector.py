"""Maximum mean discrepancy under k(x, y) = f(x) . f(y): f turns a vector to unit length and whitens it.

f subtracts the reference's mean, scales to length one, and measures along the directions in which the reference varies
most, each in units of its spread within a group. The squared distance of the two means of f is then the discrepancy
of the kernel above, which is the truncated kernel Fisher statistic: small groups of texts weigh as much as large ones.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import chi2, ncx2

from luthier.stages.monitor.detector import CONFIDENCE, Floats, Shift, Size, State, Values
from luthier.stages.monitor.detectors.mmd.config import Config

MEASURE: Final = "distance of the mean embeddings in standard deviations of the reference's texts"
ROWS_A_DIMENSION: Final = 10
TINY: Final = 1e-12


class MmdDetector:
    """See ``Config``."""

    def fit(self, values_NV: Values, groups_N: NDArray[np.int64], config: Config) -> State | None:
        """Find the directions in which the reference's rows differ most within their groups."""
        centre_V = values_NV.mean(axis=0, dtype=np.float64)
        units_NV = _to_units(values_NV.astype(np.float64), centre_V)
        counts_G = np.maximum(np.bincount(groups_N), 1)
        means_GV = np.zeros((len(counts_G), units_NV.shape[1]))
        np.add.at(means_GV, groups_N, units_NV)
        residuals_NV = units_NV - (means_GV / counts_G[:, None])[groups_N]
        variances, directions_VV = np.linalg.eigh(residuals_NV.T @ residuals_NV / len(residuals_NV))
        wanted = max(1, min(config.dimensions, len(values_NV) // ROWS_A_DIMENSION))
        kept = np.argsort(variances)[::-1][:wanted]
        kept = kept[variances[kept] > TINY]
        if not len(kept):
            return None
        directions_VD = directions_VV[:, kept]
        largest = np.abs(directions_VD).argmax(axis=0)
        directions_VD = directions_VD * np.sign(directions_VD[largest, np.arange(len(kept))])
        return {
            "centre": centre_V.astype(np.float32),
            "directions": (directions_VD / np.sqrt(variances[kept])).astype(np.float32),
        }

    def score(self, values_NV: Values, state: State) -> Floats:
        """Return each row's place along the directions."""
        scores: Floats = (_to_units(values_NV, state["centre"]) @ state["directions"]).astype(np.float64)
        return scores

    def size(self, shift: Shift, state: State) -> Size:  # noqa: ARG002  the family's shape
        """Return the distance without what chance adds, with the interval of a non-central chi-square.

        Source:
            |mean|^2 / variance is non-central chi-square with D degrees of freedom; the interval inverts its
            distribution function (Venables 1975, Journal of the Royal Statistical Society B 37).
        """
        variance = 1.0 / shift.num_rows + shift.reference_variance
        dimensions = len(shift.mean_D)
        statistic = float((shift.mean_D**2).sum()) / variance
        bounds = [_invert(statistic, dimensions, 0.5 + side * CONFIDENCE / 2) for side in (1, -1)]
        value = max(0.0, statistic - dimensions)
        low, middle, high = (float(np.sqrt(part * variance)) for part in (bounds[0], value, bounds[1]))
        return Size(MEASURE, middle, (low, high))


def _to_units(values_NV: NDArray[Any], centre_V: NDArray[Any]) -> NDArray[Any]:
    centred = values_NV - centre_V
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    units: NDArray[Any] = centred / np.maximum(lengths, TINY)
    return units


def _invert(statistic: float, dimensions: int, share: float) -> float:
    """Return the non-centrality under which a share of statistics lies below this one; 0 where none does."""
    if chi2.cdf(statistic, dimensions) <= share:
        return 0.0
    most = statistic + 10.0 * np.sqrt(statistic) + 100.0
    return float(brentq(lambda centrality: ncx2.cdf(statistic, dimensions, centrality) - share, TINY, most))


PLUGIN: Final = MmdDetector()
