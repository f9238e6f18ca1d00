"""Options of ``dedupe``."""

from __future__ import annotations

from typing import Literal

from luthier.foundation.schema.plugins import OperatorConfig


class Config(OperatorConfig):
    """Keep one row of each cluster of exact duplicates; conversations are compared whole.

    Attributes:
        match: ``normalised`` ignores case, spacing, Unicode form and invisible characters; ``exact`` ignores nothing.
    """

    match: Literal["normalised", "exact"] = "normalised"
