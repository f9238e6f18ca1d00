"""Options of the suite ``forgetting``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from luthier.foundation.schema.plugins import SuiteConfig


class Config(SuiteConfig):
    """Weigh general text: does the tuned model still predict what its base predicts?

    Attributes:
        on: A set of rows by name; None takes passages that the base itself samples, seeded.
        passages: How many texts.
        max_tokens: Tokens of a passage that are sampled, or read from the beginning of a text.
    """

    SOURCE = "Biderman et al. 2024, arXiv:2405.09673, in its cheap form: loss on general text, after minus before"

    on: str | None = None
    passages: Annotated[int, Field(ge=2, le=10_000)] = 64
    max_tokens: Annotated[int, Field(ge=8, le=4096)] = 128

    def metric_names(self) -> tuple[str, ...]:
        """Name the one metric."""
        return ("bits_per_byte",)
