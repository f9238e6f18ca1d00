"""Options of full tuning, and what it costs."""

from __future__ import annotations

from typing import ClassVar

from luthier.foundation.schema.model import ModelShape
from luthier.foundation.schema.plugins import MethodConfig

BASE_RATE = 5e-5
REFERENCE_WIDTH = 2000
WIDTH_POWER = 0.78


class Config(MethodConfig):
    """Train every weight.

    Source:
        Learning rate: Schulman et al. 2025, "LoRA Without Regret", the fit over widths.
    """

    SOURCE: ClassVar[str] = "ours"
    KEEPS_BASE: ClassVar[bool] = False

    def trainable_parameters(self, shape: ModelShape) -> int:
        """Return all parameters of the base."""
        return shape.num_parameters

    def default_learning_rate(self, shape: ModelShape) -> tuple[float, str]:
        """Return the published fit over widths for full tuning."""
        rate = BASE_RATE * (REFERENCE_WIDTH / shape.width) ** WIDTH_POWER
        reason = f"{BASE_RATE:g} x ({REFERENCE_WIDTH} / width {shape.width})^{WIDTH_POWER}, LoRA Without Regret (2025)"
        return float(f"{rate:.2g}"), reason
