"""Options of direct preference optimisation."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from luthier.foundation.schema.plugins import ObjectiveConfig


class Config(ObjectiveConfig):
    """Prefer chosen answers to rejected ones, measured from the base.

    Attributes:
        beta: How closely the model is held to the base: reward a nat of log-probability gained.
        loss_type: ``sigmoid``, the loss of the paper, or ``hinge``, which leaves pairs alone once their margin is 1.
        label_smoothing: Share of pairs whose answers are believed to be the wrong way round (``sigmoid`` only).

    Source:
        Rafailov et al. 2023, arXiv:2305.18290, equation 7. Smoothing: Mitchell 2023, "A note on DPO with noisy
        preferences", equation 3. Hinge: Zhao et al. 2023, arXiv:2305.10425, as TRL has it.
    """

    SOURCE: ClassVar[str] = "arXiv:2305.18290"
    ROW_KINDS: ClassVar[frozenset[str]] = frozenset({"preference"})
    NEEDS_REFERENCE: ClassVar[bool] = True
    RATE_FACTOR: ClassVar[float] = 0.1  # as TRL's defaults for preferences lie below those for imitation

    beta: Annotated[float, Field(gt=0.0, le=100.0)] = 0.1
    loss_type: Literal["sigmoid", "hinge"] = "sigmoid"
    label_smoothing: Annotated[float, Field(ge=0.0, lt=0.5)] = 0.0

    @model_validator(mode="after")
    def _check_smoothing(self) -> Self:
        if self.label_smoothing and self.loss_type != "sigmoid":
            message = f"label_smoothing belongs to loss_type sigmoid, and this is {self.loss_type}"
            raise ValueError(message)
        return self
