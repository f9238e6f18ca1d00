"""Recall of one class: of the questions whose answer is that label, how many are given it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from luthier.foundation.schema.plugins import MetricConfig
from luthier.instruments.measure.labels import normalise_label
from luthier.instruments.measure.metric import Item, MeanMetric


class Config(MetricConfig):
    """Share of the questions of one class that are given its label.

    Attributes:
        label: The class, such as ``oos`` for what lies outside all intents.
    """

    SOURCE = "Cleverdon 1966; as scikit-learn's recall_score of one label"

    label: Annotated[str, Field(min_length=1)]


class LabelRecall(MeanMetric):
    """Counts the class's questions alone, so that a suite with no other metric asks only these."""

    def counts(self, item: Item, config: Any) -> bool:  # noqa: ANN401  protocol
        """Count questions whose reference is the label."""
        return normalise_label(item.reference.text) == normalise_label(config.label)

    def score(self, item: Item, config: Any) -> float:  # noqa: ANN401  protocol
        """Return 1 where the answer is the label, else 0."""
        return float(normalise_label(item.answer) == normalise_label(config.label))


PLUGIN = LabelRecall()
