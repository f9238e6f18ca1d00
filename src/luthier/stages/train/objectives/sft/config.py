"""Options of supervised fine-tuning."""

from __future__ import annotations

from typing import ClassVar, Literal

from luthier.foundation.schema.plugins import ObjectiveConfig


class Config(ObjectiveConfig):
    """Make the given answers likelier.

    Attributes:
        train_on: Which turns are trained: every assistant turn, the last one only, or every token.

    Source:
        Ouyang et al. 2022, arXiv:2203.02155, section 3.5, step 1.
    """

    SOURCE: ClassVar[str] = "arXiv:2203.02155"
    ROW_KINDS: ClassVar[frozenset[str]] = frozenset({"conversation", "text"})

    train_on: Literal["assistant", "last", "all"] = "assistant"
