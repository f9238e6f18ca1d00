"""Bases of every plug-in's config half: pydantic, no torch, no I/O.

A family's base lies here, so that no plug-in imports a sibling. ``VERSION`` is part of every cache key
that the plug-in touches: raise it whenever the same options would give another result.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from luthier.foundation.schema.model import ModelShape
from luthier.foundation.schema.noun import Noun


class PluginConfig(Noun):
    """Options of one plug-in. ``SOURCE`` names the paper or standard, or ``ours``."""

    VERSION: ClassVar[int] = 1
    SOURCE: ClassVar[str] = "ours"


class OperatorConfig(PluginConfig):
    """Options of a data step."""


class SelectorConfig(PluginConfig):
    """Options of a row selector.

    Attributes:
        fraction: Greatest share of the training rows that may be trained on; the plan may take fewer.
    """

    fraction: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0


class MethodConfig(PluginConfig):
    """Options of a method, with the arithmetic that the plan needs.

    Attributes:
        QUANTISATIONS: Bases that it can train on.
        KEEPS_BASE: Whether the base can be had back while its tuned form is in memory; an adapter is switched off.
    """

    QUANTISATIONS: ClassVar[frozenset[str]] = frozenset({"none"})
    KEEPS_BASE: ClassVar[bool] = True

    def trainable_parameters(self, shape: ModelShape) -> int:
        """Count the parameters that get gradients.

        Args:
            shape: Dimensions of the base.

        Raises:
            PlanError: When the options do not fit the shape, such as a rank above a layer's width.
        """
        raise NotImplementedError

    def default_learning_rate(self, shape: ModelShape) -> tuple[float, str]:
        """Return the learning rate used for ``auto`` and the reason for it."""
        raise NotImplementedError


class ObjectiveConfig(PluginConfig):
    """Options of a loss, with the arithmetic that the plan needs.

    Attributes:
        ROW_KINDS: Kinds of rows that it learns from.
        NEEDS_REFERENCE: Whether each step also runs the base: a forward pass more, and a method that keeps the base.
        RATE_FACTOR: What the method's default learning rate is multiplied with.
    """

    ROW_KINDS: ClassVar[frozenset[str]] = frozenset()
    NEEDS_REFERENCE: ClassVar[bool] = False
    RATE_FACTOR: ClassVar[float] = 1.0


class SuiteConfig(PluginConfig):
    """Options of an evaluation suite. ``name`` defaults to the suite's type."""

    name: str | None = None

    def metric_names(self) -> tuple[str, ...]:
        """Name the metrics that the suite reports, as gates write them after the suite's own name and a dot."""
        chosen: tuple[str | Noun, ...] = getattr(self, "metrics", ())
        return tuple(metric if isinstance(metric, str) else str(getattr(metric, "type", "")) for metric in chosen)


class MetricConfig(PluginConfig):
    """Options of a metric."""


class GraderConfig(PluginConfig):
    """Options of a grader."""


class LauncherConfig(PluginConfig):
    """Options of a launcher."""


class BackendConfig(PluginConfig):
    """Options of a training backend."""


class RuntimeConfig(PluginConfig):
    """Options of a generation runtime."""


class ExporterConfig(PluginConfig):
    """Options of an export format."""


class TargetConfig(PluginConfig):
    """Options of a deployment target."""


class DetectorConfig(PluginConfig):
    """Options of a drift detector."""
