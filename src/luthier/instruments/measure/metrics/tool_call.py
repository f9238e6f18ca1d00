"""Tool call: the answer calls the right functions with the right arguments, or calls none where none is due."""

from __future__ import annotations

from typing import Any, Literal

from luthier.foundation.schema.plugins import MetricConfig
from luthier.instruments.measure.calls import calls_agree
from luthier.instruments.measure.metric import Item, MeanMetric


class Config(MetricConfig):
    """Share of questions whose calls agree with the reference's: names, arguments, number; order does not count.

    Attributes:
        questions: ``all`` counts those too where no call is due, and asks that none is made; ``calls`` counts only
            those whose reference calls a tool.
        strings: ``relaxed`` compares argument texts as BFCL does, ``exact`` character by character.
    """

    SOURCE = "Berkeley Function Calling Leaderboard, AST matching"

    questions: Literal["all", "calls"] = "all"
    strings: Literal["relaxed", "exact"] = "relaxed"


class ToolCallMatch(MeanMetric):
    """Compares calls."""

    def counts(self, item: Item, config: Any) -> bool:  # noqa: ANN401  protocol
        """Count what ``questions`` says."""
        return config.questions == "all" or bool(item.reference.tool_calls)

    def score(self, item: Item, config: Any) -> float:  # noqa: ANN401  protocol
        """Return 1 where the calls agree, else 0."""
        expected = [call.function for call in item.reference.tool_calls]
        given = [call.function for call in item.calls]
        return float(calls_agree(expected, given, is_relaxed=config.strings == "relaxed"))


PLUGIN = ToolCallMatch()
