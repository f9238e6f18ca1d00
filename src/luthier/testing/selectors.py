"""What every selector must do, whatever it is for: as many rows as asked, each once, the same each time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from luthier.foundation.schema.plugins import PluginConfig
from luthier.testing.operators import make_rows


def find_selector_faults(runtime: Any, config: type[PluginConfig]) -> Iterator[str]:  # noqa: ANN401  family's protocol
    """Yield what a selector does that none may; one with required options is judged by its own tests."""
    if any(field.is_required() for field in config.model_fields.values()):
        return
    rows = make_rows()
    for number in (1, len(rows) // 2, len(rows)):
        ranking = runtime.rank(rows, config(), number=number, seed=3)
        indices = [pick.index for pick in ranking.picks]
        if len(indices) != number or len(set(indices)) != number or not set(indices) <= set(range(len(rows))):
            yield f"asked for {number} of {len(rows)} rows it returns {indices}"
        if not all(pick.reason for pick in ranking.picks):
            yield "it takes a row without a reason"
        if ranking.flops < 0:
            yield "its cost is below zero"
        if runtime.rank(make_rows(), config(), number=number, seed=3) != ranking:
            yield "two rankings of the same rows differ; draw by the seed that is given or not at all"
    if rows != make_rows():
        yield "it changes the rows that it is given"
    if len(runtime.rank(rows[:1], config(), number=1, seed=3).picks) != 1:
        yield "it cannot rank a single row"
