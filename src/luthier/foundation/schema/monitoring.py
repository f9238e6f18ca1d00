"""MonitorReference: what live traffic is compared with, and how loudly it must differ before anyone is called."""

from __future__ import annotations

from typing import ClassVar, Literal

from luthier.foundation.core.hashing import Digest
from luthier.foundation.schema.noun import Identity, Noun, Record, Witness


class WatchedSignal(Noun):
    """One signal that is watched.

    Attributes:
        name: ``topics``, or the column that it is read from.
        detector: Name of the plug-in that watches it.
        num_rows: Rows of the reference that have it.
        num_dimensions: Numbers that a row is turned into.
        threshold: Where the detector's statistic becomes an alarm at the record's ``false_alarm_rate``.
    """

    name: str
    detector: str
    num_rows: int
    num_dimensions: int
    threshold: float


class MonitorIdentity(Identity):
    """What traffic is compared with.

    Attributes:
        mode: ``reference`` where deploy asked for one to travel in the release, ``watch`` at the corridor's end.
        reference: Blob of ``reference.json``: means, directions and quantiles; no row and no text is in it.
        false_alarm_rate: Greatest chance of any false alarm, of any signal, within ``horizon_days``.
        signals: What is watched.
        absent: Signals that are not watched, each with the reason.
        base: Whose input embeddings and tokenizer read the texts; empty where none does.
        base_digest: Digest of the base's weights.
        dashboards: Files for Grafana and Prometheus by name; empty under ``reference``.
    """

    mode: Literal["watch", "reference"]
    reference: Digest
    false_alarm_rate: float
    horizon_days: int
    signals: tuple[WatchedSignal, ...]
    absent: dict[str, str] = {}
    base: str = ""
    base_digest: Digest | None = None
    dashboards: dict[str, Digest] = {}


class MonitorWitness(Witness):
    """How long it took and where the dashboards lie."""

    seconds: float = 0.0
    folder: str = ""


class MonitorReference(Record[MonitorIdentity, MonitorWitness]):
    """Stage 7's record."""

    KIND: ClassVar[str] = "monitor_reference"
