"""Options of LoRA, and what it costs."""

from __future__ import annotations

import difflib
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from luthier.foundation.core.errors import PlanError
from luthier.foundation.schema.model import ModelShape
from luthier.foundation.schema.plugins import MethodConfig

BASE_RATE = 5e-4
REFERENCE_WIDTH = 2000
WIDTH_POWER = 0.78


class Config(MethodConfig):
    """Train two thin matrices beside each linear layer.

    Attributes:
        rank: Width of the thin matrices.
        alpha: The update is scaled by ``alpha / rank`` (``alpha / sqrt(rank)`` where rank-stabilised). A constant
            alpha keeps the best learning rate nearly independent of the rank.
        dropout: Chance that an input of the thin matrices is dropped in training.
        target_modules: Names of the linear layers of a block, or all of them.
        rank_stabilised: Scale by the root of the rank, for ranks far above 64.

    Source:
        Hu et al. 2021, arXiv:2106.09685. Alpha 32 on all linear layers and the learning rate: Schulman et al. 2025,
        "LoRA Without Regret". Rank stabilisation: Kalajdzievski 2023, arXiv:2312.03732.
    """

    SOURCE: ClassVar[str] = "arXiv:2106.09685"

    rank: Annotated[int, Field(ge=1)] = 16
    alpha: Annotated[float, Field(gt=0.0)] = 32.0
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    target_modules: Literal["all_linear"] | Annotated[tuple[str, ...], Field(min_length=1)] = "all_linear"
    rank_stabilised: bool = False

    @property
    def scaling(self) -> float:
        """Factor on the update."""
        return float(self.alpha / self.rank**0.5 if self.rank_stabilised else self.alpha / self.rank)

    def choose_targets(self, linear_shapes: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
        """Pick the layers that get an adapter.

        Args:
            linear_shapes: Every linear layer of a block by name, (out, in).

        Returns:
            The chosen ones.

        Raises:
            PlanError: E-ENG-004 when a name matches nothing, E-ENG-003 when the rank is above a layer's width.
        """
        names = tuple(linear_shapes) if self.target_modules == "all_linear" else self.target_modules
        for name in names:
            if name not in linear_shapes:
                nearest = difflib.get_close_matches(name, linear_shapes, n=3, cutoff=0.0)
                raise PlanError(
                    "E-ENG-004",
                    f"target_modules names {name!r}, and the model has no such linear layer; "
                    f"nearest: {', '.join(nearest) or 'none'}",
                    got=name,
                    allowed=", ".join(linear_shapes) or "all_linear",
                    fix=f"train.method.target_modules: [{nearest[0]}]" if nearest else "choose another base",
                    field="train.method.target_modules",
                )
            width = min(linear_shapes[name])
            if self.rank > width:
                raise PlanError(
                    "E-ENG-003",
                    f"rank {self.rank} is above what {name} can hold: it is {width} wide",
                    got=self.rank,
                    allowed=f"1 to {width}",
                    fix=f"train.method.rank: {min(16, width)}",
                    field="train.method.rank",
                )
        return {name: linear_shapes[name] for name in names}

    def trainable_parameters(self, shape: ModelShape) -> int:
        """Return rank x (in + out) over the targets of all layers.

        Raises:
            PlanError: E-ENG-004 or E-ENG-003 when targets or rank do not fit the base.
        """
        targets = self.choose_targets(shape.linear_shapes)
        return shape.num_layers * sum(self.rank * (out + into) for out, into in targets.values())

    def default_learning_rate(self, shape: ModelShape) -> tuple[float, str]:
        """Return the published fit over widths: ten times that of full tuning, whatever the rank."""
        rate = BASE_RATE * (REFERENCE_WIDTH / shape.width) ** WIDTH_POWER
        reason = f"{BASE_RATE:g} x ({REFERENCE_WIDTH} / width {shape.width})^{WIDTH_POWER}, LoRA Without Regret (2025)"
        return float(f"{rate:.2g}"), reason
