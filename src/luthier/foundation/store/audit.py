"""The audit log: append only, each entry chained to the one before by its hash (RFC 8785, sha256)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, select

from luthier.foundation.core.clock import Clock
from luthier.foundation.core.hashing import canonical_json, parse_canonical_json, sha256_json
from luthier.foundation.store import tables
from luthier.foundation.store.database import Database

GENESIS: Final = "0" * 64


class AuditEntry(NamedTuple):
    """One thing that happened."""

    seq: int
    time: str
    action: str
    facts: dict[str, Any]
    prev: str
    hash: str


class AuditLog:
    """Appends entries and verifies their chain."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Remember the database; nothing is read yet."""
        self._database = database
        self._clock = clock

    def append(self, action: str, facts: Mapping[str, Any]) -> AuditEntry:
        """Add one entry; the writing transaction orders rivals, so the chain never forks."""
        with self._database.write() as connection:
            return self.append_within(connection, action, facts)

    def append_within(self, connection: Connection, action: str, facts: Mapping[str, Any]) -> AuditEntry:
        """Add one entry in a transaction that is open for writing, so that it stands or falls with what it tells."""
        statement = select(tables.audit.c.seq, tables.audit.c.hash).order_by(tables.audit.c.seq.desc()).limit(1)
        last = connection.execute(statement).one_or_none()
        seq, prev = (last.seq + 1, last.hash) if last else (1, GENESIS)
        time = self._clock.now().isoformat(timespec="microseconds")
        entry = AuditEntry(seq, time, action, dict(facts), prev, _hash(seq, time, action, dict(facts), prev))
        connection.execute(
            tables.audit.insert().values(**{**entry._asdict(), "facts": canonical_json(entry.facts).decode()})
        )
        return entry

    def entries(self, *, action: str | None = None) -> list[AuditEntry]:
        """List all entries in order, or those of one action."""
        statement = select(tables.audit).order_by(tables.audit.c.seq)
        if action is not None:
            statement = statement.where(tables.audit.c.action == action)
        with self._database.read() as connection:
            rows = connection.execute(statement).all()
        return [
            AuditEntry(row.seq, row.time, row.action, parse_canonical_json(row.facts), row.prev, row.hash)
            for row in rows
        ]

    def find_break(self) -> int | None:
        """Return the number of the first entry that does not fit the chain, or None where all do."""
        prev = GENESIS
        for expected, entry in enumerate(self.entries(), start=1):
            actual = _hash(entry.seq, entry.time, entry.action, entry.facts, entry.prev)
            if entry.seq != expected or entry.prev != prev or entry.hash != actual:
                return expected
            prev = entry.hash
        return None


def _hash(seq: int, time: str, action: str, facts: dict[str, Any], prev: str) -> str:
    return sha256_json({"seq": seq, "time": time, "action": action, "facts": facts, "prev": prev})
