"""Options of ``near_dedupe``."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from luthier.foundation.schema.plugins import OperatorConfig


class Config(OperatorConfig):
    """Keep one row of each cluster of rows that say nearly the same, the best by the rule of ``dedupe``.

    Compared is what users and assistants say and call, in runs of words; system prompts and tool schemas, which rows
    share, are not. Rows whose answers have little in common are never near duplicates.

    Attributes:
        threshold: Jaccard similarity of two rows' runs of words from which on one of them goes.
        words: Words of a run.
        numbers: ``tell_apart`` keeps rows that differ in any number, id or date: they teach to copy it;
            ``ignore`` lets them differ as other words may.
    """

    SOURCE: ClassVar[str] = "Broder 1997, MinHash"

    threshold: Annotated[float, Field(ge=0.5, le=1.0)] = 0.8
    words: Annotated[int, Field(ge=1, le=8)] = 2
    numbers: Literal["tell_apart", "ignore"] = "tell_apart"
