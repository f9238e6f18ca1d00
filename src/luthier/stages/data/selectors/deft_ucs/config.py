"""Options of ``deft_ucs``."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from luthier.foundation.schema.plugins import SelectorConfig
from luthier.foundation.schema.sections import Fraction


class Config(SelectorConfig):
    """Take the most typical and the most unusual rows of every topic, on top of some by chance.

    Attributes:
        random_fraction: Share of the choice that is drawn by chance (the paper's D_base).
        easy_fraction: Share of a topic's rows that lie nearest its middle; the rest lie farthest (alpha, 1 - beta).
        clusters: Number of topics; ``auto`` takes the root of half the rows, at most 64.
    """

    SOURCE: ClassVar[str] = "arXiv:2310.16776, algorithm 1"

    random_fraction: Fraction = 0.3
    easy_fraction: Fraction = 0.5
    clusters: Literal["auto"] | Annotated[int, Field(ge=1, le=4096)] = "auto"
