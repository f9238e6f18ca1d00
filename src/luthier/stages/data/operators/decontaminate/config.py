"""Options of ``decontaminate``."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from luthier.foundation.schema.plugins import OperatorConfig


class Config(OperatorConfig):
    """Drop training rows that hold what a set of ``data.evaluation`` asks.

    A row goes when it says the same as an evaluation row, asks the same single question, quotes a whole short
    question, or shares a large part of the word n-grams of its questions. System prompts, tool schemas and tool
    results never count.

    Attributes:
        ngram: Words of an n-gram.
        overlap: Share of the n-grams of an evaluation row's questions that one training row must hold to be dropped.
        min_words: Fewest words of a question whose quotation inside a longer text counts.
    """

    SOURCE: ClassVar[str] = "arXiv:2005.14165 appendix C (13-grams)"

    ngram: Annotated[int, Field(ge=3, le=64)] = 13
    overlap: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    min_words: Annotated[int, Field(ge=2, le=64)] = 6
