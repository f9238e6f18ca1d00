"""Run operators over rows, one after the other, and hold each to one outcome a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from luthier.foundation.core.errors import DataError, Problem
from luthier.foundation.registry import load_runtime
from luthier.foundation.schema.dataset import WaterfallStep
from luthier.foundation.schema.plugins import OperatorConfig
from luthier.foundation.schema.rows import Row
from luthier.foundation.schema.sections import PluginChoice
from luthier.stages.data.ledger import Ledger, Scrub, describe_outcome
from luthier.stages.data.options import load_options
from luthier.stages.data.outcomes import Changed, Dropped, Flagged, HeldOut, Kept, Outcome, Refused
from luthier.stages.data.readers.source import MAX_SHOWN_PROBLEMS
from luthier.stages.data.spool import Rows

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
    """What the operators left, and the whole story of the rest.

    Attributes:
        rows: The rows that go on.
        held_out: The evaluation sets as they are asked: as they were read, unless an operator shapes them.
        waterfall: Counts, a step an operator; of the sources' rows alone.
        entries: What happened to which row, evaluation rows included.
    """

    rows: Rows
    held_out: dict[str, Sequence[Row]] = field(default_factory=dict)
    waterfall: list[WaterfallStep] = field(default_factory=list)
    entries: Ledger = field(default_factory=Ledger)


def resolve_operators(choice: Literal["default"] | Sequence[PluginChoice]) -> tuple[Step, ...]:
    """Load and validate the operators of a recipe.

    Raises:
        RecipeError: E-REC-011 for a name that does not exist.
        DataError: E-DAT-017 for options that do not fit.
    """
    choices = DEFAULT_OPERATORS if choice == "default" else choice
    return tuple(_resolve(each) for each in choices)


def _resolve(choice: PluginChoice) -> Step:
    return Step(choice.type, load_options("operators", choice, OperatorConfig, field="data.operators"))


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
    cleaned = Cleaned(rows if isinstance(rows, Rows) else Rows(rows), dict(held_out))
    for step in steps:
        _apply_step(cleaned, step, scrub)
        _shape_held_out(cleaned, step, scrub)
    return cleaned


def _apply_step(cleaned: Cleaned, step: Step, scrub: Scrub) -> None:
    rows, kept, tally = cleaned.rows, cleaned.rows.select(()), Tally(step.name)
    for index, outcome in enumerate(run_step(rows, step, cleaned.held_out)):
        tally.add(outcome)
        entry = describe_outcome(outcome, step.name, scrub)
        if entry is not None:
            cleaned.entries.append(entry)
        if isinstance(outcome, Changed):
            kept.append(outcome.row)
        elif not isinstance(outcome, Dropped):
            kept.append_from(rows, index)
    cleaned.rows = kept
    cleaned.waterfall.append(tally.describe())


def _shape_held_out(cleaned: Cleaned, step: Step, scrub: Scrub) -> None:
    """Show evaluation rows as training rows are shown, where the operator is a ``Shaper``; the ledger says which."""
    plugin = load_runtime("operators", step.name)
    if not hasattr(plugin, "shape"):
        return
    for name, rows in cleaned.held_out.items():
        shaped = Rows()
        for row in rows:
            outcome: Kept | Changed = plugin.shape(row, step.config)
            shaped.append(outcome.row)
            entry = describe_outcome(outcome, step.name, scrub)
            if entry is not None:
                cleaned.entries.append(entry.model_copy(update={"detail": entry.detail | {"evaluation": name}}))
        cleaned.held_out[name] = shaped


def run_step(rows: Sequence[Row], step: Step, held_out: HeldOut) -> Iterator[Outcome]:
    """Run one operator and check that it answers for every row once and in order.

    Yields:
        An outcome a row. Rows that are refused have one too; their problems are raised after the last.

    Raises:
        DataError: E-DAT-018 where it did not; the operator's own problems where it refuses rows.
    """
    given = rows if isinstance(rows, Rows) else Rows(rows)
    refused: list[Problem] = []
    num_refused = num_answered = 0
    outcomes: Iterator[Outcome] = load_runtime("operators", step.name).apply(given, step.config, held_out)
    for outcome in outcomes:
        if not given.has_id(num_answered, outcome.row.id):
            raise _describe_lost(step.name, num_answered + 1 + sum(1 for _ in outcomes), len(given))
        num_answered += 1
        if isinstance(outcome, Refused):
            num_refused += 1
            refused += [outcome.problem] if num_refused <= MAX_SHOWN_PROBLEMS else []
        yield outcome
    if num_answered != len(given):
        raise _describe_lost(step.name, num_answered, len(given))
    if num_refused > len(refused):
        refused.append(
            Problem(
                "E-DAT-009",
                f"{num_refused} rows are refused by {step.name}; the first {MAX_SHOWN_PROBLEMS} are shown",
                got=f"{num_refused} of {len(given)} rows",
                allowed="no bad row",
                fix=refused[0].fix,
            )
        )
    if refused:
        raise DataError.collect(refused)


def _describe_lost(name: str, num_outcomes: int, num_rows: int) -> DataError:
    return DataError(
        "E-DAT-018",
        f"the operator {name} did not answer for every row exactly once",
        got=f"{num_outcomes} outcomes for {num_rows} rows",
        allowed="one outcome a row, in the rows' order, ids unchanged",
        fix=f"take {name} out of data.operators",
    )


@dataclass(slots=True)
class Tally:
    """Counts what an operator does."""

    operator: str
    actions: Counter[type] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        """Count one outcome."""
        self.actions[type(outcome)] += 1
        if not isinstance(outcome, Kept | Refused):
            self.reasons.update(outcome.reasons)

    def describe(self) -> WaterfallStep:
        """Return the counts as a step of the waterfall."""
        num_rows = self.actions.total()
        return WaterfallStep(
            operator=self.operator,
            rows_in=num_rows,
            rows_out=num_rows - self.actions[Dropped],
            changed=self.actions[Changed],
            flagged=self.actions[Flagged],
            dropped=self.actions[Dropped],
            reasons=dict(sorted(self.reasons.items())),
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
