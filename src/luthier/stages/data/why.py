"""Tell one row's story: where it was read, what each operator did to it, where it is now."""

from __future__ import annotations

import re
from typing import Any, Final

from pydantic import Field

from luthier.foundation.core.errors import DataError
from luthier.foundation.schema.dataset import DatasetVersion
from luthier.foundation.schema.noun import Noun
from luthier.foundation.schema.protocols import Blobs
from luthier.foundation.schema.rows import Origin, Row
from luthier.stages.data.ledger import Entry, read_ledger

_PLACE: Final = re.compile(r"(?P<file>.+):(?P<line>\d+)$")


class Visit(Noun):
    """What one operator did to the row."""

    operator: str
    action: str
    reasons: tuple[str, ...] = ()
    detail: dict[str, Any] = Field(default_factory=dict)
    before: Row | None = None
    after: Row | None = None


class Rank(Noun):
    """Where a selector put the row.

    Attributes:
        place: Its place in the ranking, from 1.
        num_ranked: Rows that were ranked; the plan takes the first of them.
        reason: Why it was taken, in the selector's words.
    """

    place: int
    num_ranked: int
    reason: str


class Story(Noun):
    """One row's way through stage 1.

    Attributes:
        row: Its id.
        origin: File and line.
        visits: What operators did, in order; those that left it alone are not listed.
        split: Where it is now; None where it was dropped.
        final: The row as it is now; None where it was dropped.
        rank: Where a selector put it; None where none ran or none took it.
    """

    row: str
    origin: Origin
    visits: tuple[Visit, ...]
    split: str | None
    final: Row | None
    rank: Rank | None = None


def why(record: DatasetVersion, blobs: Blobs, reference: str) -> Story:
    """Tell what happened to a row.

    Args:
        record: The data set.
        blobs: Where its rows and ledger lie.
        reference: The row's id, or ``FILE:LINE``.

    Raises:
        DataError: E-DAT-016 when the data set never saw such a row.
    """
    entries = [
        entry for entry in read_ledger(record.identity.ledger, blobs) if _is_meant(entry.row, entry.origin, reference)
    ]
    split, final = _find_row(record, blobs, entries[0].row if entries else reference)
    if final is None and not entries:
        raise DataError(
            "E-DAT-016",
            "the data set has no such row",
            got=reference or "nothing",
            allowed="a row's id, or FILE:LINE as the source has it",
            fix="luthier data show FILE",
        )
    origin = final.origin if final is not None else entries[0].origin
    row_id = final.id if final is not None else entries[0].row
    return Story(
        row=row_id,
        origin=origin,
        visits=_tell_visits(entries, final),
        split=split,
        final=final,
        rank=_find_rank(record, blobs, row_id),
    )


def _is_meant(row_id: str, origin: Origin, reference: str) -> bool:
    if row_id == reference:
        return True
    place = _PLACE.match(reference)
    return (
        place is not None
        and int(place["line"]) == origin.line
        and place["file"].rsplit("/", 1)[-1] == origin.file.rsplit("/", 1)[-1]
    )


def _find_row(record: DatasetVersion, blobs: Blobs, reference: str) -> tuple[str | None, Row | None]:
    for name, part in record.identity.splits.items():
        for row in blobs.get_rows(part.blob):
            if _is_meant(row.id, row.origin, reference):
                return name, row
    return None, None


def _find_rank(record: DatasetVersion, blobs: Blobs, row_id: str) -> Rank | None:
    if record.identity.ranking is None:
        return None
    lines = list(blobs.get_lines(record.identity.ranking))
    ranks = (
        Rank(place=place, num_ranked=len(lines), reason=str(line["reason"]))
        for place, line in enumerate(lines, start=1)
        if line["id"] == row_id
    )
    return next(ranks, None)


def _tell_visits(entries: list[Entry], final: Row | None) -> tuple[Visit, ...]:
    """Give each entry its after: what the next entry saw, or the row as it is now."""
    visits: list[Visit] = []
    after = final
    for entry in reversed(entries):
        visits.append(
            Visit(
                operator=entry.operator,
                action=entry.action,
                reasons=entry.reasons,
                detail=entry.detail,
                before=entry.before,
                after=after if entry.action == "changed" else None,
            )
        )
        after = entry.before if entry.before is not None else after
    return tuple(reversed(visits))
