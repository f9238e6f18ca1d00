"""Bits per byte: how well a system predicts text, whatever its tokenizer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from luthier.foundation.schema.plugins import MetricConfig
from luthier.instruments.measure.metric import Item
from luthier.instruments.measure.stats.paired import Sample


class Config(MetricConfig):
    """Negative log-likelihood of the text in bits, divided by its UTF-8 bytes, over all rows together."""

    SOURCE = "Gao et al. 2020, arXiv:2101.00027, section 3.1"


class BitsPerByte:
    """Adds up bits and bytes."""

    higher_is_better = False

    def counts(self, item: Item, config: Any) -> bool:  # noqa: ANN401, ARG002  protocol
        """Count every text that was weighed and has a byte."""
        return item.nats is not None and bool(item.reference.text)

    def score(self, item: Item, config: Any) -> float:  # noqa: ANN401, ARG002  protocol
        """Return the bits per byte of one text."""
        return (item.nats or 0.0) / math.log(2) / len(item.reference.text.encode())

    def sample(self, items: Sequence[Item], config: Any) -> Sample:  # noqa: ANN401, ARG002  protocol
        """Return (bits, bytes) of each text: long texts weigh more."""
        bits = [(item.nats or 0.0) / math.log(2) for item in items]
        bytes = [len(item.reference.text.encode()) for item in items]
        return Sample(np.stack([bits, bytes], axis=1).astype(np.float64))


PLUGIN = BitsPerByte()
