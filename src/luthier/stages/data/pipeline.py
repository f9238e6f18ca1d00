"""Run operators over rows, one after the other, and hold each to one outcome a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pydantic import ValidationError

from luthier.foundation.core.errors import DataError, Problem
from luthier.foundation.registry import load_config, load_runtime
from luthier.foundation.schema.dataset import WaterfallStep
from luthier.foundation.schema.plugins import OperatorConfig
from luthier.foundation.schema.rows import Row
from luthier.foundation.schema.sections import PluginChoice
from luthier.stages.data.ledger import Entry, Scrub, describe_outcome
from luthier.stages.data.outcomes import Changed, Dropped, Flagged, HeldOut, Kept, Outcome, Refused
from luthier.stages.data.readers.source import MAX_SHOWN_PROBLEMS

DEFAULT_OPERATORS: Final[tuple[PluginChoice, ...]] = (
    PluginChoice(type="unicode"),  # first: hidden characters would hide duplicates, leaks and personal data
    PluginChoice(type="empty"),  # what says nothing need not be compared
    PluginChoice(type="pii", options={"action": "flag"}),  # reported, not redacted: phone numbers may be the task
    PluginChoice(type="dedupe"),
    PluginChoice(type="decontaminate"),  # last: on what would be trained on
)


@dataclass(frozen=True, slots=True)
class Step:
    """One operator, resolved."""

    name: str
    config: OperatorConfig

    def to_identity(self) -> dict[str, object]:
        """Return what of it is part of the data set's identity and of the cache key."""
        options = self.config.model_dump(mode="json")
        return {"operator": self.name, "version": type(self.config).VERSION, "options": options}


@dataclass(slots=True)
class Cleaned:
    """What the operators left, and the whole story of the rest."""

    rows: list[Row]
    waterfall: list[WaterfallStep] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)


def resolve_operators(choice: Literal["default"] | Sequence[PluginChoice]) -> tuple[Step, ...]:
    """Load and validate the operators of a recipe.

    Raises:
        RecipeError: E-REC-011 for a name that does not exist.
        DataError: E-DAT-017 for options that do not fit.
    """
    choices = DEFAULT_OPERATORS if choice == "default" else choice
    return tuple(_resolve(each) for each in choices)


def _resolve(choice: PluginChoice) -> Step:
    config_class = load_config("operators", choice.type)
    try:
        config = config_class.model_validate(choice.options)
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(
            "E-DAT-017",
            f"the options of operator {choice.type} do not fit: {first['msg'].lower()}",
            got=f"{'.'.join(map(str, first['loc']))} = {first['input']!r}",
            allowed=", ".join(config_class.model_fields) or "no options",
            fix=f"operators: [{{type: {choice.type}}}]",
            field=f"data.operators.{choice.type}",
        ) from error
    if not isinstance(config, OperatorConfig):
        message = f"{config_class.__module__}.Config must derive from OperatorConfig"
        raise TypeError(message)
    return Step(choice.type, config)


def apply_operators(rows: Sequence[Row], steps: Sequence[Step], held_out: HeldOut) -> Cleaned:
    """Run all operators.

    Args:
        rows: Rows as read.
        steps: Operators in order.
        held_out: Evaluation sets by name.

    Raises:
        DataError: What an operator refuses; E-DAT-018 for an operator that loses rows.
    """
    scrub = build_scrub(steps)
    cleaned = Cleaned(list(rows))
    for step in steps:
        outcomes = run_step(cleaned.rows, step, held_out)
        cleaned.waterfall.append(describe_step(step.name, outcomes))
        cleaned.entries += [
            entry for outcome in outcomes if (entry := describe_outcome(outcome, step.name, scrub)) is not None
        ]
        cleaned.rows = [outcome.row for outcome in outcomes if not isinstance(outcome, Dropped)]
    return cleaned


def run_step(rows: Sequence[Row], step: Step, held_out: HeldOut) -> list[Outcome]:
    """Run one operator and check that it answered for every row once and in order.

    Raises:
        DataError: E-DAT-018 where it did not; the operator's own problems where it refuses rows.
    """
    outcomes: list[Outcome] = list(load_runtime("operators", step.name).apply(rows, step.config, held_out))
    if [outcome.row.id for outcome in outcomes] != [row.id for row in rows]:
        raise DataError(
            "E-DAT-018",
            f"the operator {step.name} did not answer for every row exactly once",
            got=f"{len(outcomes)} outcomes for {len(rows)} rows",
            allowed="one outcome a row, in the rows' order, ids unchanged",
            fix=f"take {step.name} out of data.operators",
        )
    refused = [outcome.problem for outcome in outcomes if isinstance(outcome, Refused)]
    if refused:
        shown = refused[:MAX_SHOWN_PROBLEMS]
        if len(refused) > len(shown):
            shown.append(
                Problem(
                    "E-DAT-009",
                    f"{len(refused)} rows are refused by {step.name}; the first {MAX_SHOWN_PROBLEMS} are shown",
                    got=f"{len(refused)} of {len(rows)} rows",
                    allowed="no bad row",
                    fix=refused[0].fix,
                )
            )
        raise DataError.collect(shown)
    return outcomes


def describe_step(name: str, outcomes: Sequence[Outcome]) -> WaterfallStep:
    """Count what an operator did."""
    reasons: Counter[str] = Counter()
    for outcome in outcomes:
        if not isinstance(outcome, Kept | Refused):
            reasons.update(outcome.reasons)
    dropped = sum(isinstance(outcome, Dropped) for outcome in outcomes)
    return WaterfallStep(
        operator=name,
        rows_in=len(outcomes),
        rows_out=len(outcomes) - dropped,
        changed=sum(isinstance(outcome, Changed) for outcome in outcomes),
        flagged=sum(isinstance(outcome, Flagged) for outcome in outcomes),
        dropped=dropped,
        reasons=dict(sorted(reasons.items())),
    )


def build_scrub(steps: Sequence[Step]) -> Scrub:
    """Return what cleans rows before the ledger keeps them: every operator of the list that can scrub."""
    scrubbers: list[tuple[Any, OperatorConfig]] = [
        (plugin, step.config) for step in steps if hasattr(plugin := load_runtime("operators", step.name), "scrub")
    ]

    def scrub(row: Row) -> Row:
        for plugin, config in scrubbers:
            row = plugin.scrub(row, config)
        return row

    return scrub
