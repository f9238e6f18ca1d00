"""Rank the training rows by a selector and store the ranking, of which the plan takes a prefix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from luthier.foundation.core.errors import DataError
from luthier.foundation.registry import load_runtime
from luthier.foundation.schema.dataset import WaterfallStep
from luthier.foundation.schema.plugins import SelectorConfig
from luthier.foundation.schema.protocols import Blobs
from luthier.foundation.schema.rows import Row
from luthier.foundation.schema.sections import PluginChoice
from luthier.stages.data.options import load_options
from luthier.stages.data.ranking import Ranking

FIELD = "data.select"


@dataclass(frozen=True, slots=True)
class Selection:
    """One selector, resolved, with the seed that it draws by."""

    name: str
    config: SelectorConfig
    seed: int

    def to_identity(self) -> dict[str, object]:
        """Return what of it is part of the data set's identity."""
        options = self.config.model_dump(mode="json")
        return {"selector": self.name, "version": type(self.config).VERSION, "options": options, "seed": self.seed}


def resolve_selection(choice: PluginChoice, seed: int) -> Selection:
    """Load and validate the selector of a recipe.

    Raises:
        RecipeError: E-REC-011 for a name that does not exist.
        DataError: E-DAT-017 for options that do not fit.
    """
    return Selection(choice.type, load_options("selectors", choice, SelectorConfig, field=FIELD), seed)


def rank_rows(rows: Sequence[Row], selection: Selection) -> Ranking:
    """Let a selector order as many rows as its ``fraction`` allows.

    Args:
        rows: The training rows.
        selection: Who orders them.

    Raises:
        DataError: E-DAT-030 for a selector that returns a row twice, an unknown one, or too few or too many.
    """
    number = count_allowed(len(rows), selection.config.fraction)
    ranking: Ranking = load_runtime("selectors", selection.name).rank(
        rows, selection.config, number=number, seed=selection.seed
    )
    indices = {pick.index for pick in ranking.picks}
    if len(ranking.picks) != number or len(indices) != number or not indices <= set(range(len(rows))):
        raise DataError(
            "E-DAT-030",
            f"the selector {selection.name} did not return as many different rows as it was asked for",
            got=f"{len(ranking.picks)} picks of {len(indices)} different rows",
            needs=f"{number} of {len(rows)} rows, each once",
            fix="select: random",
            field=FIELD,
        )
    return ranking


def count_allowed(num_rows: int, fraction: float) -> int:
    """Return how many rows a fraction allows: rounded down, at least one where there is one."""
    return min(num_rows, max(1, int(num_rows * fraction + 1e-9)))


def describe_selection(selection: Selection, ranking: Ranking, *, num_rows: int) -> WaterfallStep:
    """Return the selection as a step of the waterfall: of the training rows those that may be trained on."""
    return WaterfallStep(
        operator=f"select {selection.name}",
        rows_in=num_rows,
        rows_out=len(ranking.picks),
        reasons=ranking.count_reasons(),
    )


def store_ranking(rows: Sequence[Row], ranking: Ranking, blobs: Blobs) -> str:
    """Store row ids, best first, each with the reason, and return the blob's digest."""
    return blobs.put_lines(describe_picks(rows, ranking))


def describe_picks(rows: Sequence[Row], ranking: Ranking) -> list[dict[str, Any]]:
    """Return each pick as a line of the ranking."""
    return [{"id": rows[pick.index].id, "reason": pick.reason} for pick in ranking.picks]
