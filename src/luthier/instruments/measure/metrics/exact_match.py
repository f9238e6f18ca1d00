"""Exact match: the answer is the reference, character by character; calls are equal as JSON values."""

from __future__ import annotations

from typing import Any

from luthier.foundation.schema.plugins import MetricConfig
from luthier.instruments.measure.calls import calls_agree
from luthier.instruments.measure.metric import Item, MeanMetric


class Config(MetricConfig):
    """Share of answers equal to the reference, spaces around them aside.

    Attributes:
        ignore_case: Compare without regard to case.
    """

    ignore_case: bool = False


class ExactMatch(MeanMetric):
    """Compares texts."""

    def score(self, item: Item, config: Any) -> float:  # noqa: ANN401  protocol
        """Return 1 where the texts are equal, else 0; where calls are due or made, these must be equal too."""
        expected = item.reference.text.strip()
        due = [call.function for call in item.reference.tool_calls]
        made = [call.function for call in item.calls]
        if not calls_agree(due, made, is_relaxed=False):
            return 0.0
        given = (item.content if made else item.answer).strip()
        if config.ignore_case:
            given, expected = given.casefold(), expected.casefold()
        return float(given == expected)


PLUGIN = ExactMatch()
