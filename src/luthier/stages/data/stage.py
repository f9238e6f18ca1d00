"""Stage 1: read rows, clean them, part them, and keep the whole story."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from luthier.foundation.core.errors import DataError
from luthier.foundation.schema.dataset import (
    DatasetIdentity,
    DatasetVersion,
    DatasetWitness,
    RowSet,
    SourceRead,
    WaterfallStep,
)
from luthier.foundation.schema.protocols import Context
from luthier.foundation.schema.rows import Row
from luthier.foundation.schema.sections import DataSection
from luthier.stages.data.pipeline import Cleaned, apply_operators, resolve_operators
from luthier.stages.data.report import format_waterfall
from luthier.stages.data.selection import (
    Selection,
    describe_selection,
    rank_rows,
    resolve_selection,
    store_ranking,
)
from luthier.stages.data.sources import (
    Place,
    digest_source,
    locate_evaluation,
    locate_sources,
    read_all,
)
from luthier.stages.data.split import BY_CONVERSATION, assign_groups, split_rows
from luthier.stages.data.spool import Rows

VERSION: Final = 1


def run(section: DataSection, inputs: Mapping[str, Any], ctx: Context) -> DatasetVersion:  # noqa: ARG001  first stage
    """Make the data set's record.

    Args:
        section: The recipe's data section.
        inputs: Nothing; this is the first stage.
        ctx: Blobs, clock, progress, seed.

    Raises:
        DataError: For files, rows, operators and splits that cannot be.
        RecipeError: E-REC-010 for what this version does not do.
    """
    started = ctx.clock.monotonic()
    places = locate_sources(section, ctx.base_folder)
    evaluation_places = locate_evaluation(section, ctx.base_folder)
    steps = resolve_operators(section.operators)
    selection = None if section.select is None else resolve_selection(section.select, ctx.seed)
    read = _read(places, evaluation_places, ctx)

    rows = assign_groups(read.rows, section.split.by)
    held_out = {name: _group_held_out(part, section.split.by) for name, part in read.held_out.items()}

    cleaned = apply_operators(rows, steps, held_out)
    waterfall = [WaterfallStep(operator="read", rows_in=len(rows), rows_out=len(rows)), *cleaned.waterfall]
    _require_rows(cleaned, waterfall)
    splits = {**split_rows(cleaned.rows, section.split, ctx.seed), **cleaned.held_out}
    waterfall.append(_describe_split(cleaned.rows, splits))
    ranking = None if selection is None else _select(splits["train"], selection, waterfall, ctx)

    identity = DatasetIdentity(
        sources=read.sources,
        waterfall=tuple(waterfall),
        splits={name: RowSet(blob=ctx.blobs.put_rows(part), num_rows=len(part)) for name, part in splits.items()},
        ledger=cleaned.entries.store(ctx.blobs),
        ranking=ranking,
        operators=(*(step.to_identity() for step in steps), *([] if selection is None else [selection.to_identity()])),
    )
    witness = DatasetWitness(
        paths=_list_paths(places, evaluation_places), seconds=round(ctx.clock.monotonic() - started, 3)
    )
    return DatasetVersion(identity=identity, witness=witness)


def fingerprint(section: DataSection, ctx: Context) -> dict[str, Any]:
    """Return the section's fields as the cache key sees them: contents instead of paths, operators resolved.

    Raises:
        DataError: E-DAT-001 for a file that cannot be read.
        EnvironmentLacks: E-ENV-002 for a variable that is not set.
    """
    return {
        "sources": [_describe_place(place) for place in locate_sources(section, ctx.base_folder)],
        "evaluation": {
            name: _describe_place(place) for name, place in locate_evaluation(section, ctx.base_folder).items()
        },
        "operators": [step.to_identity() for step in resolve_operators(section.operators)],
    }


def refresh(record: DatasetVersion, section: DataSection, ctx: Context) -> DatasetVersion:
    """Return a reused record with the paths where its files lie today."""
    places = locate_sources(section, ctx.base_folder)
    paths = _list_paths(places, locate_evaluation(section, ctx.base_folder))
    return record.model_copy(update={"witness": record.witness.model_copy(update={"paths": paths})})


@dataclass(frozen=True)
class _Read:
    """All files as they were read; ids are unique in each set."""

    sources: tuple[SourceRead, ...]
    rows: Rows
    held_out: dict[str, Rows]


def _read(places: Sequence[Place], evaluation: Mapping[str, Place], ctx: Context) -> _Read:
    rows = Rows(has_unique_ids=True)
    held_out = {name: Rows(has_unique_ids=True) for name in evaluation}
    targets = [*((place, rows) for place in places), *((place, held_out[name]) for name, place in evaluation.items())]
    with ctx.progress.task("data: reading", total=None, unit="rows") as task:
        return _Read(tuple(read_all(targets, task.advance, ctx.progress.say)), rows, held_out)


def _group_held_out(rows: Rows, by: str) -> Sequence[Row]:
    """Give evaluation rows groups where all have the column; nothing else is changed."""
    has_groups = by != BY_CONVERSATION and all(row.fields.get(by) is not None for row in rows)
    return assign_groups(rows, by) if has_groups else rows


def _select(rows: Sequence[Row], selection: Selection, waterfall: list[WaterfallStep], ctx: Context) -> str:
    """Rank the training rows, say what it cost, and return the blob of the ranking."""
    began = ctx.clock.monotonic()
    ranking = rank_rows(rows, selection)
    waterfall.append(describe_selection(selection, ranking, num_rows=len(rows)))
    ctx.progress.say(
        f"{selection.name} ranked {len(ranking.picks):,} of {len(rows):,} training rows in "
        f"{ctx.clock.monotonic() - began:.1f} s, {ranking.flops / 1e9:.1f} GFLOP"
    )
    return store_ranking(rows, ranking, ctx.blobs)


def _describe_split(rows: Sequence[Row], splits: Mapping[str, Sequence[Row]]) -> WaterfallStep:
    sizes = {name: len(part) for name, part in splits.items()}
    return WaterfallStep(operator="split", rows_in=len(rows), rows_out=len(rows), reasons=sizes)


def _require_rows(cleaned: Cleaned, waterfall: Sequence[WaterfallStep]) -> None:
    if not cleaned.rows:
        raise DataError(
            "E-DAT-011",
            "the operators dropped every row",
            got=format_waterfall(waterfall),
            needs="at least one row for each split",
            fix="take the operator that drops them out of data.operators, or mend the source",
            field="data.operators",
        )


def _list_paths(places: Sequence[Place], evaluation: Mapping[str, Place]) -> tuple[str, ...]:
    return tuple(str(place.path.absolute()) for place in [*places, *evaluation.values()])


def _describe_place(place: Place) -> dict[str, Any]:
    declared = place.source.model_dump(mode="json", exclude={"path", "weight"})
    return {"digest": digest_source(place.path), **declared}
