"""Accuracy: the answer names the reference's class."""

from __future__ import annotations

from typing import Any

from luthier.foundation.schema.plugins import MetricConfig
from luthier.instruments.measure.labels import normalise_label
from luthier.instruments.measure.metric import Item, MeanMetric


class Config(MetricConfig):
    """Share of answers that name the right class; case, quotes and a final full stop do not count.

    Attributes:
        except_label: A class whose questions do not count, such as ``oos`` for accuracy within the intents.
    """

    except_label: str | None = None


class Accuracy(MeanMetric):
    """Compares class labels."""

    def counts(self, item: Item, config: Any) -> bool:  # noqa: ANN401  protocol
        """Count every question but those of ``except_label``."""
        left_out = config.except_label
        return left_out is None or normalise_label(item.reference.text) != normalise_label(left_out)

    def score(self, item: Item, config: Any) -> float:  # noqa: ANN401, ARG002  protocol
        """Return 1 where the labels are equal, else 0."""
        return float(normalise_label(item.answer) == normalise_label(item.reference.text))


PLUGIN = Accuracy()
