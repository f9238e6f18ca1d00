"""Where a value stands among the reference's values: the mean over a window is Mann and Whitney's U over n m."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from luthier.stages.monitor.detector import CONFIDENCE, Floats, Shift, Size, State, Values
from luthier.stages.monitor.detectors.rank.config import Config

MEASURE: Final = "chance that a row of the traffic has the greater value than a row of the reference"
EVEN: Final = 0.5


class RankDetector:
    """See ``Config``."""

    def fit(self, values_NV: Values, groups_N: NDArray[np.int64], config: Config) -> State | None:
        """Keep the sorted values and the spread of their ranks within a group."""
        ordered = np.sort(values_NV[:, 0].astype(np.float64))
        if len(ordered) > config.quantiles:
            shares = (np.arange(config.quantiles) + EVEN) / config.quantiles
            ordered = np.quantile(ordered, shares, method="inverted_cdf")
        ranks_N = _rank(values_NV[:, 0], ordered)
        means = np.bincount(groups_N, weights=ranks_N) / np.maximum(np.bincount(groups_N), 1)
        spread = float(np.std(ranks_N - means[groups_N]))
        return {"ordered": ordered, "spread": np.array([spread])} if spread > 0 else None

    def score(self, values_NV: Values, state: State) -> Floats:
        """Return ranks in units of their spread."""
        return ((_rank(values_NV[:, 0], state["ordered"]) - EVEN) / state["spread"])[:, None]

    def size(self, shift: Shift, state: State) -> Size:
        """Return U over n m with a normal interval; one half is no shift."""
        spread = float(state["spread"][0])
        value = EVEN + spread * float(shift.mean_D[0])
        variance = float(shift.variance_D[0]) / shift.num_rows + shift.reference_variance
        reach = float(norm.ppf(EVEN + CONFIDENCE / 2)) * spread * float(np.sqrt(variance))
        return Size(MEASURE, value, (max(0.0, value - reach), min(1.0, value + reach)))


def _rank(values_N: Values, ordered: Floats) -> Floats:
    """Return the share of the ordered values below each value, those equal to it by half."""
    below = np.searchsorted(ordered, values_N, side="left")
    up_to = np.searchsorted(ordered, values_N, side="right")
    ranks: Floats = (below + up_to) / (2.0 * len(ordered))
    return ranks


PLUGIN: Final = RankDetector()
