"""Options of the suite ``preference``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from luthier.foundation.schema.plugins import SuiteConfig


class Config(SuiteConfig):
    """Weigh both answers of held-out pairs: does the tuned model side with the chosen one?

    Attributes:
        on: ``validation``, ``test`` or a name under ``data.evaluation``; a set of preference rows.
        max_questions: Draw this many pairs by the recipe's seed; None weighs all.
        too_long: What to do with a pair that the base cannot hold.
    """

    on: str = "test"
    max_questions: Annotated[int, Field(ge=1)] | None = None
    too_long: Literal["refuse", "drop"] = "refuse"

    def metric_names(self) -> tuple[str, ...]:
        """Name the two metrics."""
        return ("pair_accuracy", "pair_likelihood")
