"""Feedback in the workspace's database: added once, reviewed with a name, each review in the audit log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Row, select

from luthier.foundation.core.clock import Clock
from luthier.foundation.core.errors import RecipeError
from luthier.foundation.core.hashing import canonical_json, parse_canonical_json
from luthier.foundation.schema.feedback import Feedback, FeedbackPayload, FeedbackState
from luthier.foundation.store import tables
from luthier.foundation.store.audit import AuditLog
from luthier.foundation.store.database import Database

_TABLE: Final = tables.feedback
REVIEWED: Final = "feedback.reviewed"


class FeedbackStore:
    """Adds, lists and reviews.

    Args:
        database: The workspace's database.
        audit: Where reviews are told, in the same transaction.
        clock: Tells when a review was made.
    """

    def __init__(self, database: Database, audit: AuditLog, clock: Clock) -> None:
        """Remember the database; nothing is read yet."""
        self._database = database
        self._audit = audit
        self._clock = clock

    def add(self, pieces: Sequence[Feedback]) -> list[bool]:
        """Store feedback, all of it or none; what is there already stays as it is, reviewed or not.

        Returns:
            For each piece whether it is new.
        """
        are_new = []
        with self._database.write() as connection:
            for piece in pieces:
                known = connection.execute(select(_TABLE.c.id).where(_TABLE.c.id == piece.id)).one_or_none()
                if known is None:
                    connection.execute(_TABLE.insert().values(**_to_values(piece)))
                are_new.append(known is None)
        return are_new

    def entries(
        self, *, state: FeedbackState | None = None, release: str | None = None, limit: int | None = None
    ) -> list[Feedback]:
        """List feedback in the order in which it came.

        Args:
            state: Only this state.
            release: Only on this release, by its whole digest.
            limit: Only the newest.
        """
        statement = select(_TABLE).order_by(_TABLE.c.time.desc(), _TABLE.c.id.desc()).limit(limit)
        if state is not None:
            statement = statement.where(_TABLE.c.state == state)
        if release is not None:
            statement = statement.where(_TABLE.c.release == release)
        with self._database.read() as connection:
            return [_to_feedback(row) for row in reversed(connection.execute(statement).all())]

    def review(self, ids: Sequence[str], state: FeedbackState, *, by: str) -> list[Feedback]:
        """Accept or reject, all named pieces or none; a later review replaces an earlier one.

        Args:
            ids: Pieces by their whole id.
            state: ``accepted`` or ``rejected``.
            by: Who decides, as they declare themselves.

        Raises:
            RecipeError: E-MON-023 for an id that there is not.
        """
        time = self._clock.now().isoformat(timespec="seconds")
        wanted = list(dict.fromkeys(ids))
        with self._database.write() as connection:
            rows = connection.execute(select(_TABLE).where(_TABLE.c.id.in_(wanted))).all()
            found = {row.id: row for row in rows}
            missing = [name for name in wanted if name not in found]
            if missing:
                raise _unknown(missing)
            connection.execute(
                _TABLE.update().where(_TABLE.c.id.in_(wanted)).values(state=state, reviewed_by=by, reviewed_at=time)
            )
            facts = {"feedback": wanted, "state": state, "by": by, "before": [found[name].state for name in wanted]}
            self._audit.append_within(connection, REVIEWED, facts)
            rows = connection.execute(select(_TABLE).where(_TABLE.c.id.in_(wanted))).all()
        reviewed = {row.id: _to_feedback(row) for row in rows}
        return [reviewed[name] for name in wanted]


def _unknown(missing: Sequence[str]) -> RecipeError:
    return RecipeError(
        "E-MON-023",
        f"there is no feedback {missing[0]!r}" + (f" and {len(missing) - 1} more of these" if missing[1:] else ""),
        got=", ".join(missing),
        allowed="ids that `luthier feedback list` shows",
        fix="luthier feedback list --state new",
    )


def _to_values(piece: Feedback) -> dict[str, Any]:
    values = piece.model_dump(mode="json", exclude={"payload"})
    return {**values, "payload": canonical_json(piece.payload.model_dump(mode="json")).decode()}


def _to_feedback(row: Row[Any]) -> Feedback:
    values = {name: value or "" for name, value in row._asdict().items() if name != "payload"}
    return Feedback(**values, payload=FeedbackPayload.model_validate(parse_canonical_json(row.payload)))
