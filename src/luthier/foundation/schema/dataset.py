"""DatasetVersion: which rows, from where, what was done to them, how they are split."""

from __future__ import annotations

from typing import ClassVar

from luthier.foundation.core.hashing import Digest
from luthier.foundation.schema.noun import Identity, Noun, Record, Witness


class SourceRead(Noun):
    """One source as it was read. The path is in the witness: content alone is identity."""

    digest: Digest
    format: str
    form: str
    num_rows: int
    license: str | None = None
    basis: str | None = None


class WaterfallStep(Noun):
    """What one operator did: rows in, rows out, and why the others went; flagged rows went on as they were."""

    operator: str
    rows_in: int
    rows_out: int
    changed: int = 0
    flagged: int = 0
    dropped: int = 0
    reasons: dict[str, int] = {}


class RowSet(Noun):
    """Rows in a blob: one canonical JSON object a line."""

    blob: Digest
    num_rows: int


class DatasetIdentity(Identity):
    """What the rows are.

    Attributes:
        sources: Every source in recipe order.
        waterfall: Every step in order, reading and splitting included.
        splits: ``train``, ``validation``, ``test`` and the recipe's own evaluation sets by name.
        ledger: Blob with one line a dropped or changed row: id, origin, operator, reason, detail.
        ranking: Blob of row ids in the selector's order; None where nothing was selected.
        operators: Each operator with its version and resolved options, in order; last the selector, where there is one.
    """

    sources: tuple[SourceRead, ...]
    waterfall: tuple[WaterfallStep, ...]
    splits: dict[str, RowSet]
    ledger: Digest
    ranking: Digest | None = None
    operators: tuple[dict[str, object], ...] = ()


class DatasetWitness(Witness):
    """How the rows were read: paths, seconds, rate."""

    paths: tuple[str, ...] = ()
    seconds: float = 0.0


class DatasetVersion(Record[DatasetIdentity, DatasetWitness]):
    """Stage 1's record."""

    KIND: ClassVar[str] = "dataset_version"
