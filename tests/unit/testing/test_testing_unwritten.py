"""What ``make new`` leaves to its author is a fault until it is written."""

from __future__ import annotations

from typing import Any

from luthier.foundation.schema.plugins import MetricConfig
from luthier.instruments.measure.metric import Item, MeanMetric, Metric
from luthier.testing.conformance import find_config_faults
from luthier.testing.shapes import find_shape_faults


class Unwritten(MetricConfig):
    """To be written: what it does, in one sentence."""


class HalfWritten(MeanMetric):
    """A metric whose score is still its base's stub."""

    def counts(self, item: Item, config: Any) -> bool:
        return True


class Written(HalfWritten):
    """The same, with its score."""

    def score(self, item: Item, config: Any) -> float:
        return 1.0


def test_a_docstring_that_is_still_to_be_written_is_a_fault():
    (fault,) = find_config_faults("metrics", Unwritten)
    assert "say in one sentence what it does" in fault


def test_a_method_that_raises_not_implemented_is_a_fault_and_a_written_one_is_none():
    (fault,) = find_shape_faults(HalfWritten(), Metric)
    assert fault == "PLUGIN.score is not written yet: it raises NotImplementedError"
    assert list(find_shape_faults(Written(), Metric)) == []
