"""The ledger: one line for each row that was dropped, changed or flagged, so that no row vanishes without a reason."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Literal

from pydantic import Field

from luthier.foundation.schema.noun import Noun
from luthier.foundation.schema.protocols import Blobs
from luthier.foundation.schema.rows import Origin, Row
from luthier.foundation.store.blobs import dump_row
from luthier.stages.data.outcomes import Changed, Dropped, Flagged, Outcome
from luthier.stages.data.spool import Lines

Scrub = Callable[[Row], Row]
Action = Literal["dropped", "changed", "flagged"]


class Entry(Noun):
    """One line of the ledger.

    Attributes:
        row: The row's id.
        origin: File and line.
        operator: Who did it.
        action: What was done.
        reasons: Why, in the operator's words.
        detail: Counts, places and partners; what they mean is on the operator's page.
        before: The row as it was: whole where it was dropped or changed, None where it was flagged.
    """

    row: str
    origin: Origin
    operator: str
    action: Action
    reasons: tuple[str, ...]
    detail: dict[str, Any] = Field(default_factory=dict)
    before: Row | None = None


def describe_outcome(outcome: Outcome, operator: str, scrub: Scrub) -> Entry | None:
    """Return the ledger's line for an outcome; None where the row went on untouched."""
    match outcome:
        case Dropped():
            action: Action = "dropped"
            before: Row | None = scrub(outcome.row)
        case Changed():
            action, before = "changed", scrub(outcome.before)
        case Flagged():
            action, before = "flagged", None
        case _:
            return None
    return Entry.model_construct(
        row=outcome.row.id,
        origin=outcome.row.origin,
        operator=operator,
        action=action,
        reasons=outcome.reasons,
        detail=outcome.detail,
        before=before,
    )


class Ledger:
    """Entries in the order in which they were written, in a file until they are stored."""

    def __init__(self) -> None:
        """Begin with no entry."""
        self._lines = Lines()

    def __len__(self) -> int:
        """Return how many entries there are."""
        return len(self._lines)

    def __iter__(self) -> Iterator[Entry]:
        """Read the entries back."""
        return map(Entry.model_validate, self._iterate_json())

    def append(self, entry: Entry) -> None:
        """Add an entry."""
        line = entry.model_dump(mode="json", exclude={"before"})
        if entry.before is not None:
            line["before"] = dump_row(entry.before)
        self._lines.append(json.dumps(line).encode())

    def store(self, blobs: Blobs) -> str:
        """Store the entries as a blob and return its digest."""
        return blobs.put_lines(self._iterate_json())

    def _iterate_json(self) -> Iterator[dict[str, Any]]:
        for number in range(len(self._lines)):
            yield json.loads(self._lines.read(number))


def read_ledger(digest: str, blobs: Blobs) -> Iterator[Entry]:
    """Read the ledger back, line by line."""
    for line in blobs.get_lines(digest):
        yield Entry.model_validate(line)
