"""Precision of one class: of the questions that are given that label, how many have it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from luthier.foundation.schema.plugins import MetricConfig
from luthier.instruments.measure.labels import normalise_label
from luthier.instruments.measure.metric import Item
from luthier.instruments.measure.stats.intervals import Floats
from luthier.instruments.measure.stats.paired import Sample


class Config(MetricConfig):
    """Share of the answers that name one class which are right; 0 where no answer names it.

    Attributes:
        label: The class, such as ``oos`` for what lies outside all intents.
    """

    SOURCE = "Cleverdon 1966; as scikit-learn's precision_score of one label"

    label: Annotated[str, Field(min_length=1)]


class LabelPrecision:
    """Asks every question, since any of them may be given the label wrongly."""

    higher_is_better = True

    def counts(self, item: Item, config: Any) -> bool:  # noqa: ANN401, ARG002  protocol
        """Count every question."""
        return True

    def score(self, item: Item, config: Any) -> float:  # noqa: ANN401  protocol
        """Return 0 where the label was given wrongly, else 1."""
        given, expected = _names_label(item, config)
        return float(expected or not given)

    def sample(self, items: Sequence[Item], config: Any) -> Sample:  # noqa: ANN401  protocol
        """Return each row's hit and whether it was given the label.

        Shapes:
            N rows; totals are (N, 2).
        """
        named = np.array([_names_label(item, config) for item in items], dtype=np.float64).reshape(-1, 2)
        totals = np.stack([named[:, 0] * named[:, 1], named[:, 0]], axis=1)
        return Sample(totals, precision_of_totals, is_mean=False)


def _names_label(item: Item, config: Any) -> tuple[bool, bool]:  # noqa: ANN401  the metric's own Config
    """Tell whether the answer names the label, and whether the reference does."""
    label = normalise_label(config.label)
    return normalise_label(item.answer) == label, normalise_label(item.reference.text) == label


def precision_of_totals(totals: Floats) -> Floats:
    """Return hits / answers with the label; 0 where there is no such answer, also in a resample."""
    hits, given = totals[..., 0], totals[..., 1]
    return np.asarray(hits / np.maximum(given, 1))


PLUGIN = LabelPrecision()
