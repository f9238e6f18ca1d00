"""Choose rows of one file without a recipe: who orders them, which come first and why, what the choice cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from luthier.foundation.core.clock import Clock
from luthier.foundation.schema.noun import Noun
from luthier.foundation.schema.rows import Message, Row
from luthier.foundation.schema.sections import PluginChoice
from luthier.stages.data.readers.source import Reading, read_rows
from luthier.stages.data.selection import describe_picks, rank_rows, resolve_selection
from luthier.stages.data.spool import Rows


class FileSelection(Noun):
    """What a selector chose of a file.

    Attributes:
        selector: Name, version, options and seed.
        rows_in: Rows of the file.
        rows_out: Rows that were chosen.
        reasons: Chosen rows by the reason for which they were taken.
        seconds: Wall-clock seconds of the choice, reading aside.
        flops: Floating-point operations of the choice, a counted estimate.
        picks: Row ids with the reason, best first.
    """

    selector: dict[str, Any]
    rows_in: int
    rows_out: int
    reasons: dict[str, int]
    seconds: float
    flops: int
    picks: tuple[dict[str, str], ...]


def select_file(
    reading: Reading, choice: PluginChoice, *, seed: int, clock: Clock
) -> tuple[FileSelection, Iterator[dict[str, Any]]]:
    """Rank a file's rows as they are; nothing is cleaned or split.

    Args:
        reading: The file.
        choice: The selector with its options.
        seed: What it draws by.
        clock: Measures the choice.

    Returns:
        The choice, and the chosen rows as records, best first.

    Raises:
        DataError: For the file and its bad rows, E-DAT-017 for options that do not fit.
        RecipeError: E-REC-011 for a selector that does not exist.
    """
    selection = resolve_selection(choice, seed)
    rows = Rows(has_unique_ids=True)
    read_rows(reading, into=rows).raise_problems(reading.path)
    began = clock.monotonic()
    ranking = rank_rows(rows, selection)
    found = FileSelection(
        selector=selection.to_identity(),
        rows_in=len(rows),
        rows_out=len(ranking.picks),
        reasons=ranking.count_reasons(),
        seconds=round(clock.monotonic() - began, 3),
        flops=ranking.flops,
        picks=tuple(describe_picks(rows, ranking)),
    )
    return found, (to_record(rows[pick.index]) for pick in ranking.picks)


def to_record(row: Row) -> dict[str, Any]:
    """Write a row as a line that reading turns into the same row again."""
    record: dict[str, Any] = {"id": row.id}
    if row.kind == "text":
        record["text"] = row.text
    else:
        record["messages" if row.kind == "conversation" else "prompt"] = _write(row.messages)
    for name in ("chosen", "rejected", "completion"):
        if getattr(row, name):
            record[name] = _write(getattr(row, name))
    optional = {"label": row.label, "tools": list(row.tools) or None, "group": row.group or None}
    return record | {name: value for name, value in optional.items() if value is not None} | row.fields


def _write(messages: tuple[Message, ...]) -> list[dict[str, Any]]:
    return [{"content": message.text, **message.model_dump(mode="json", exclude_defaults=True)} for message in messages]
