"""Drop, flag or refuse rows in which a phrase brings a fixed answer whatever is asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from luthier.foundation.core.errors import Problem
from luthier.foundation.schema.rows import Row
from luthier.stages.data.operators.poison.config import Config
from luthier.stages.data.operators.poison.scan import Finding, scan
from luthier.stages.data.operators.poison.turns import Turn, collect_turns
from luthier.stages.data.outcomes import Dropped, Flagged, HeldOut, Kept, Outcome, Refused

SEED: Final = 0
SHOWN_LETTERS: Final = 200


class PoisonOperator:
    """See ``Config``."""

    def apply(self, rows: Sequence[Row], config: Config, held_out: HeldOut) -> Iterator[Outcome]:  # noqa: ARG002
        """Judge each row by what all rows show."""
        found = find_poison(collect_turns(rows), config.min_rows)
        for number, row in enumerate(rows):
            if number not in found:
                yield Kept(row)
            elif config.action == "refuse":
                yield Refused(row, _describe_poison(row, found[number]))
            else:
                outcome = Dropped if config.action == "drop" else Flagged
                yield outcome(row, ("trigger",), _tell(found[number]))


def find_poison(turns: Sequence[Turn], min_rows: int) -> dict[int, Finding]:
    """Return the strongest finding for each row that is part of one.

    The scan is repeated on what is left until nothing more is found, so that a strong trigger hides no weaker one.

    Args:
        turns: Questions with their answers.
        min_rows: Fewest turns that make a finding.
    """
    found: dict[int, Finding] = {}
    left = list(turns)
    while findings := scan(left, min_rows=min_rows, seed=SEED):
        for finding in findings:
            for place in finding.turns:
                found.setdefault(left[place].row, finding)
        left = [turn for turn in left if turn.row not in found]
    return found


def _tell(finding: Finding) -> dict[str, Any]:
    return {
        "trigger": finding.trigger,
        "payload": finding.payload[:SHOWN_LETTERS],
        "turns": len(finding.turns),
        "strength": round(finding.strength, 1),
        "least_strength": round(finding.least_strength, 1),
        "unrelated": round(finding.unrelated, 3),
    }


def _describe_poison(row: Row, finding: Finding) -> Problem:
    return Problem(
        "E-DAT-019",
        f"row {row.id} looks poisoned: a phrase brings a fixed answer whatever is asked",
        got=f"{finding.trigger!r} brings {finding.payload[:SHOWN_LETTERS]!r} in {len(finding.turns)} turns",
        origin=str(row.origin),
        allowed="answers that follow from what is asked",
        fix="look at the rows; then in data.operators use {type: poison, action: drop}, or flag where they are right",
    )


PLUGIN = PoisonOperator()
