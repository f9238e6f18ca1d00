"""Options of ``tool_subset``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from luthier.foundation.schema.plugins import OperatorConfig


class Config(OperatorConfig):
    """Show each row the tools that it calls and some others, so that long tool lists fit.

    Attributes:
        others: How many tools stay that the row does not call; they are what the model must choose against.
        seed: Draws the others; the same row has the same others in every run.
        evaluation: Whether evaluation sets are shown fewer tools too. Their questions are then easier than with all.
    """

    others: Annotated[int, Field(ge=0, le=1_000)] = 4
    seed: int = 0
    evaluation: bool = True
