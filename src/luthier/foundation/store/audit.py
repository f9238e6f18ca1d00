"""The audit log: append only, each entry chained to the one before by its hash (RFC 8785, sha256)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, select

from luthier.foundation.core.clock import Clock
from luthier.foundation.core.errors import StoreError
from luthier.foundation.core.hashing import canonical_json, parse_canonical_json
from luthier.foundation.store import tables
from luthier.foundation.store.audit_chain import GENESIS, AuditRow, hash_entry, verify_chain
from luthier.foundation.store.database import Database


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
        entry = AuditEntry(seq, time, action, dict(facts), prev, hash_entry(seq, time, action, dict(facts), prev))
        connection.execute(
            tables.audit.insert().values(**{**entry._asdict(), "facts": canonical_json(entry.facts).decode()})
        )
        return entry

    def entries(self, *, action: str | None = None) -> list[AuditEntry]:
        """List all entries in order, or those of one action.

        Raises:
            StoreError: E-STO-005 for an entry that nobody could have written; :meth:`rows` gives it as it lies.
        """
        statement = select(tables.audit).order_by(tables.audit.c.seq)
        if action is not None:
            statement = statement.where(tables.audit.c.action == action)
        with self._database.read() as connection:
            rows = connection.execute(statement).all()
        return [AuditEntry(row.seq, row.time, row.action, _parse(row), row.prev, row.hash) for row in rows]

    def rows(self) -> list[AuditRow]:
        """List all entries as they lie, also what nobody could have written."""
        columns = [tables.audit.c[name] for name in AuditRow._fields]
        with self._database.read() as connection:
            return [AuditRow(*row) for row in connection.execute(select(*columns).order_by(tables.audit.c.seq))]

    def head(self) -> str:
        """Return the hash of the newest entry; zeros where there is none."""
        statement = select(tables.audit.c.hash).order_by(tables.audit.c.seq.desc()).limit(1)
        with self._database.read() as connection:
            return str(connection.execute(statement).scalar_one_or_none() or GENESIS)

    def find_break(self) -> int | None:
        """Return the number of the first entry that does not fit the chain, or None where all do."""
        findings = verify_chain(self.rows()).findings
        return findings[0].seq if findings else None


def _parse(row: Row[Any]) -> dict[str, Any]:
    try:
        facts = parse_canonical_json(row.facts)
    except ValueError:
        facts = None
    if isinstance(facts, dict):
        return facts
    raise StoreError(
        "E-STO-005",
        f"entry {row.seq} of the audit log is damaged",
        got=row.facts,
        origin="luthier.db",
        allowed="a JSON object as it was appended",
        fix="luthier govern audit verify",
    )
