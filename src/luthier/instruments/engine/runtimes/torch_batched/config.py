"""Options of the batched torch runtime."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from luthier.foundation.schema.plugins import RuntimeConfig


class Config(RuntimeConfig):
    """Answer many prompts at once with a key-value cache; what prompts share is computed once.

    Attributes:
        max_new_tokens: Longest answer.
        temperature: 0 answers greedily; above, tokens are drawn, each prompt from its own seeded stream.
        top_p: Share of the probability that may be drawn from.
        batch_rows: Most prompts answered together.
        batch_tokens: Most tokens of a batch held in the cache, the shared beginning not counted; bounds memory.
        share_prefixes: False computes every prompt whole.
    """

    max_new_tokens: Annotated[int, Field(ge=1, le=100_000)] = 128
    temperature: Annotated[float, Field(ge=0.0, le=100.0)] = 0.0
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    batch_rows: Annotated[int, Field(ge=1, le=1024)] = 32
    batch_tokens: Annotated[int, Field(ge=1)] = 8192
    share_prefixes: bool = True
