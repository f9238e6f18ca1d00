"""Pair likelihood: how often a system itself finds the chosen answer likelier."""

from __future__ import annotations

from typing import Any

from luthier.foundation.schema.plugins import MetricConfig
from luthier.instruments.measure.metric import Item, MeanMetric
from luthier.instruments.measure.pairs import side_with_chosen


class Config(MetricConfig):
    """Share of pairs whose chosen answer is likelier than the rejected one under the system itself."""

    SOURCE = "Chen et al. 2024, arXiv:2405.19534, section 2: ranking accuracy"


class PairLikelihood(MeanMetric):
    """Judges base and tuned model by one yardstick: log-probability summed over the answer."""

    def counts(self, item: Item, config: Any) -> bool:  # noqa: ANN401, ARG002  protocol
        """Count every pair."""
        return item.lead is not None

    def score(self, item: Item, config: Any) -> float:  # noqa: ANN401, ARG002  protocol
        """Return 1, 0, or one half at a tie."""
        return side_with_chosen(item.lead or 0.0)


PLUGIN = PairLikelihood()
