"""What every drift detector does: turn rows into standardised numbers, and say how large a shift is.

All else is shared and lies in ``measure.stats.drift``: windows, thresholds, since when. A detector is therefore the
choice of what a row is, no more: a rank for numbers, directions of a kernel's feature space for vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Values = NDArray[np.float64] | NDArray[np.float32]
State = dict[str, NDArray[Any]]
"""What a detector keeps of the reference: arrays by name. No row can be told from it."""

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Shift:
    """How far the rows of a stretch lie from the reference.

    Attributes:
        mean_D: Mean of their scores less that of the reference's same groups.
        variance_D: Variance of their scores.
        num_rows: Rows of the stretch.
        reference_variance: Variance of the reference's mean, for scores of variance 1.
    """

    mean_D: Floats
    variance_D: Floats
    num_rows: int
    reference_variance: float


@dataclass(frozen=True, slots=True)
class Size:
    """A shift in words that a person can weigh.

    Attributes:
        measure: What the value is.
        value: The estimate.
        interval: Where it lies with the chance ``confidence``.
    """

    measure: str
    value: float
    interval: tuple[float, float]
    confidence: float = CONFIDENCE


class Detector(Protocol):
    """A family's runtime half.

    Shapes:
        N rows of V values become N rows of D scores; in the reference each score has variance 1 within its group.
    """

    def fit(self, values_NV: Values, groups_N: NDArray[np.int64], config: Any) -> State | None:  # noqa: ANN401
        """Learn from the reference; None where its rows are all alike, so that nothing could be compared."""
        ...

    def score(self, values_NV: Values, state: State) -> Floats:
        """Turn rows into scores."""
        ...

    def size(self, shift: Shift, state: State) -> Size:
        """Say how large a shift is."""
        ...
