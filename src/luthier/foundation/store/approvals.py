"""Approvals: kept beside the records they speak of, each with its audit entry in one transaction."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, Row, func, select

from luthier.foundation.core.clock import Clock
from luthier.foundation.schema.approval import Approval, fold_name
from luthier.foundation.store import tables
from luthier.foundation.store.audit import AuditLog
from luthier.foundation.store.database import Database

APPROVED: Final = "approval.recorded"


class Approvals:
    """The table of approvals.

    Args:
        database: The workspace's database.
        clock: Tells when one was given.
        audit: Gets an entry for each.
    """

    def __init__(self, database: Database, clock: Clock, audit: AuditLog) -> None:
        """Remember the parts; nothing is read yet."""
        self._database = database
        self._clock = clock
        self._audit = audit

    def add(self, record: str, *, by: str, reason: str, is_override: bool) -> Approval:
        """Record one person's approval; their earlier one of the same kind stays as it is and is returned.

        Args:
            record: Digest of what is approved.
            by: Who.
            reason: Why.
            is_override: Whether it stands in for a gate that did not pass.
        """
        approval = Approval(
            record=record,
            by=by,
            reason=reason,
            is_override=is_override,
            time=self._clock.now().isoformat(timespec="microseconds"),
        )
        with self._database.write() as connection:
            earlier = self._find_twin(connection, approval)
            if earlier is not None:
                return earlier
            self._insert(connection, approval)
            self._audit.append_within(connection, APPROVED, approval.model_dump(mode="json", exclude={"time"}))
        return approval

    def of(self, record: str) -> tuple[Approval, ...]:
        """List a record's approvals in the order in which they were given."""
        return self._select(record)

    def entries(self) -> tuple[Approval, ...]:
        """List all approvals in the order in which they were given."""
        return self._select(None)

    def _select(self, record: str | None) -> tuple[Approval, ...]:
        statement = select(tables.approvals).order_by(tables.approvals.c.position)
        if record is not None:
            statement = statement.where(tables.approvals.c.record == record)
        with self._database.read() as connection:
            return tuple(_read(row) for row in connection.execute(statement))

    def _find_twin(self, connection: Connection, approval: Approval) -> Approval | None:
        row = connection.execute(
            select(tables.approvals).where(
                tables.approvals.c.record == approval.record,
                tables.approvals.c.approver_key == fold_name(approval.by),
                tables.approvals.c.is_override == int(approval.is_override),
            )
        ).one_or_none()
        return None if row is None else _read(row)

    def _insert(self, connection: Connection, approval: Approval) -> None:
        last = connection.execute(select(func.max(tables.approvals.c.position))).scalar_one_or_none()
        connection.execute(
            tables.approvals.insert().values(
                position=(last or 0) + 1,
                record=approval.record,
                approver=approval.by,
                approver_key=fold_name(approval.by),
                reason=approval.reason,
                is_override=int(approval.is_override),
                time=approval.time,
            )
        )


def _read(row: Row[tuple[object, ...]]) -> Approval:
    return Approval(
        record=row.record, by=row.approver, reason=row.reason, is_override=bool(row.is_override), time=row.time
    )
