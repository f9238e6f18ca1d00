"""What a metric is: a score for each answer, and how scores add up to one number.

``metrics/<name>.py`` holds ``Config`` and ``PLUGIN``, an object of :class:`Metric`'s shape. A metric knows nothing of
models, suites or files. How its numbers get intervals is ``stats/paired.py``'s affair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from luthier.foundation.schema.report import MetricValue
from luthier.foundation.schema.rows import Message, ToolCall
from luthier.instruments.measure.stats.paired import Estimate, Sample


@dataclass(frozen=True, slots=True)
class Item:
    """One answered question as a metric sees it.

    Attributes:
        reference: What the row holds as the right answer; for plain text a message with the text.
        answer: What the system wrote, tool calls included as it wrote them.
        content: The answer without its calls.
        calls: The calls that were read in it.
        fields: Further columns of the row.
        nats: Negative log-likelihood of the reference under the system; None where the suite does not weigh it.
        lead: By how many nats the system finds the chosen answer of a pair likelier than the rejected one.
        base_lead: The same under the base.
    """

    reference: Message
    answer: str = ""
    content: str = ""
    calls: tuple[ToolCall, ...] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)
    nats: float | None = None
    lead: float | None = None
    base_lead: float | None = None


class Metric(Protocol):
    """Scores answers.

    Attributes:
        higher_is_better: Direction of the value.
    """

    higher_is_better: bool

    def counts(self, item: Item, config: Any) -> bool:  # noqa: ANN401  the metric's own Config
        """Tell whether the question counts; it may depend on the reference alone, so that systems stay paired."""
        ...

    def score(self, item: Item, config: Any) -> float:  # noqa: ANN401
        """Score one answer."""
        ...

    def sample(self, items: Sequence[Item], config: Any) -> Sample:  # noqa: ANN401
        """Turn a system's answers into totals that add up to the metric."""
        ...


class MeanMetric:
    """A metric that is the plain mean of its scores. Metrics of this kind implement ``score`` only."""

    higher_is_better = True

    def counts(self, item: Item, config: Any) -> bool:  # noqa: ANN401, ARG002  the protocol's signature
        """Count every question."""
        return True

    def score(self, item: Item, config: Any) -> float:  # noqa: ANN401
        """Score one answer."""
        raise NotImplementedError

    def sample(self, items: Sequence[Item], config: Any) -> Sample:  # noqa: ANN401
        """Average the scores."""
        scores = np.array([self.score(item, config) for item in items], dtype=np.float64)
        totals = np.stack([scores, np.ones_like(scores)], axis=1)
        return Sample(totals, is_rate=bool(np.isin(scores, (0.0, 1.0)).all()))


def to_metric_value(estimate: Estimate, *, metric: str, system: str, confidence: float = 0.95) -> MetricValue:
    """Write an estimate as the Report has it."""
    return MetricValue(
        metric=metric,
        system=system,
        value=estimate.value,
        interval=(estimate.interval.low, estimate.interval.high),
        confidence=confidence,
        n=estimate.num_rows,
        clusters=estimate.num_clusters,
        method=estimate.interval.method,
        is_rough=estimate.is_rough,
    )
