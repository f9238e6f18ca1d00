"""Pair accuracy: how often the preference that was learnt sides with the chosen answer."""

from __future__ import annotations

from typing import Any

from luthier.foundation.schema.plugins import MetricConfig
from luthier.instruments.measure.metric import Item, MeanMetric
from luthier.instruments.measure.pairs import side_with_chosen


class Config(MetricConfig):
    """Share of pairs whose chosen answer gained more log-probability over the base than the rejected one."""

    SOURCE = "Rafailov et al. 2023, arXiv:2305.18290, equation 5: the implicit reward"


class PairAccuracy(MeanMetric):
    """Judges by the gain over the base; the base itself gains nothing, so that every pair is a tie to it."""

    def counts(self, item: Item, config: Any) -> bool:  # noqa: ANN401, ARG002  protocol
        """Count every pair that the base was asked about too."""
        return item.lead is not None and item.base_lead is not None

    def score(self, item: Item, config: Any) -> float:  # noqa: ANN401, ARG002  protocol
        """Return 1, 0, or one half at a tie."""
        return side_with_chosen((item.lead or 0.0) - (item.base_lead or 0.0))


PLUGIN = PairAccuracy()
