"""Which training rows are used: all that fit the length, or as many as fit the time, in ranking order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from luthier.foundation.core.errors import PlanError
from luthier.foundation.core.hashing import sha256_json
from luthier.foundation.schema.plan import Reason
from luthier.foundation.schema.sections import PlanSection
from luthier.instruments.text.pairs import Example


def order_examples(rows: Sequence[Example], *, ranking: Sequence[str] | None, seed: int) -> list[Example]:
    """Order rows so that a prefix is what to train on: by the stored ranking, else by a seeded draw.

    The pieces of a row that was cut to fit, ``<id>#1`` and so on, stand where the row stands, in their order.

    Args:
        rows: Rendered rows.
        ranking: Row ids, best first; rows that it does not name are not trained on.
        seed: Draws the order where there is no ranking.
    """
    if ranking is None:
        return sorted(rows, key=lambda row: sha256_json([seed, "example", row.id]))
    place = {row_id: index for index, row_id in enumerate(ranking)}
    found = [(place[name], row) for row in rows if (name := _find_ranked(row.id, place)) is not None]
    return [row for _, row in sorted(found, key=lambda pair: pair[0])]


def _find_ranked(row_id: str, place: Mapping[str, int]) -> str | None:
    """Return the name under which a row, or the row that it is a piece of, is ranked."""
    whole = row_id.rpartition("#")[0]
    return row_id if row_id in place else (whole if whole in place else None)


def choose_num_examples(
    section: PlanSection, *, available: int, seconds_an_epoch_row: float, epochs: float
) -> tuple[int, Reason]:
    """Fix how many rows are trained on.

    Args:
        section: ``num_examples`` and ``minutes`` of the recipe.
        available: Rows that passed every check.
        seconds_an_epoch_row: Estimated seconds to train on one row once.
        epochs: Passes over the rows.

    Returns:
        The number and why; the smallest of what is there, what is asked and what fits the time.

    Raises:
        PlanError: E-PLN-003 when no row is left, E-PLN-006 when not one row fits the time, E-PLN-007 when more rows
            are asked for than there are.
    """
    if available == 0:
        raise PlanError(
            "E-PLN-003",
            "no training row is left after the checks",
            got="0 rows",
            allowed="at least one row with something to train on",
            fix="luthier data curate RECIPE",
            field="data.sources",
        )
    if section.num_examples is not None and section.num_examples > available:
        raise PlanError(
            "E-PLN-007",
            "plan.num_examples asks for more rows than there are to train on",
            got=section.num_examples,
            needs=f"{section.num_examples:,} rows after split, selection and checks",
            allowed=f"up to {available}",
            fix=f"--set plan.num_examples={available}",
            field="plan.num_examples",
        )
    limits = {available: "every row that passed the checks"}
    if section.num_examples is not None:
        limits.setdefault(section.num_examples, "as plan.num_examples says")
    if section.minutes is not None:
        fitting = int(60.0 * section.minutes / max(epochs * seconds_an_epoch_row, 1e-9))
        limits.setdefault(fitting, f"what {section.minutes:g} minutes are estimated to hold at {epochs:g} epochs")
    number = min(limits)
    if number == 0:
        raise PlanError(
            "E-PLN-006",
            "not one row fits the time",
            got=section.minutes,
            needs=f"about {epochs * seconds_an_epoch_row / 60:.2f} minutes a row",
            allowed="more minutes, or fewer epochs",
            fix="--set plan.minutes=20",
            field="plan.minutes",
        )
    return number, Reason(field="plan.num_examples", value=str(number), reason=limits[number])
