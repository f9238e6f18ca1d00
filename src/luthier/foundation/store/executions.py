"""Executions: which cache key ran when, how it ended, and which record it made."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final, Literal, NamedTuple

from sqlalchemy import Select, select

from luthier.foundation.core.clock import Clock
from luthier.foundation.core.hashing import canonical_json
from luthier.foundation.schema.noun import Record
from luthier.foundation.store import tables
from luthier.foundation.store.database import Database

State = Literal["running", "done", "waiting", "failed", "interrupted", "damaged"]
SETTLED: Final = ("done", "damaged")


class Execution(NamedTuple):
    """One stage's execution as it stands.

    Attributes:
        record: Digest of what it made, where it is done.
        detail: Canonical JSON: what it waits for, or what went wrong.
        witness: Canonical JSON of the record's witness as this execution saw it.
    """

    cache_key: str
    stage: str
    state: str
    record: str | None
    detail: str
    witness: str
    started: str
    ended: str | None


class Executions:
    """The table of executions."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Remember the database; nothing is read yet."""
        self._database = database
        self._clock = clock

    def get(self, cache_key: str) -> Execution | None:
        """Return an execution, or None where the key never ran."""
        found = self._select(select(tables.executions).where(tables.executions.c.cache_key == cache_key))
        return found[0] if found else None

    def find(self, prefix: str, *, stage: str | None = None) -> list[Execution]:
        """List the executions whose key begins with a prefix, newest first."""
        statement = select(tables.executions).where(tables.executions.c.cache_key.startswith(prefix, autoescape=True))
        if stage is not None:
            statement = statement.where(tables.executions.c.stage == stage)
        return self._select(statement.order_by(tables.executions.c.started.desc()))

    def find_makers(self, digests: Collection[str]) -> list[str]:
        """List the keys of all executions that made one of these records."""
        statement = select(tables.executions.c.cache_key).where(tables.executions.c.record.in_(digests))
        with self._database.read() as connection:
            return list(connection.execute(statement).scalars())

    def start(self, cache_key: str, stage: str) -> None:
        """Mark a key as running; an unfinished try of it is taken up and keeps its time of start."""
        mine = tables.executions.c.cache_key == cache_key
        with self._database.write(is_durable=False) as connection:
            last = connection.execute(
                select(tables.executions.c.started).where(mine, tables.executions.c.state.not_in(SETTLED))
            ).scalar_one_or_none()
            connection.execute(tables.executions.delete().where(mine))
            connection.execute(
                tables.executions.insert().values(
                    cache_key=cache_key,
                    stage=stage,
                    state="running",
                    detail="{}",
                    witness="{}",
                    started=last or self._now(),
                )
            )

    def finish(self, cache_key: str, record: Record[Any, Any]) -> None:
        """Mark a key as done with the record that it made."""
        witness = canonical_json(record.witness.model_dump(mode="json")).decode()
        self._update(cache_key, state="done", record=record.digest, witness=witness, detail="{}")

    def stop(self, cache_key: str, state: State, detail: dict[str, object]) -> None:
        """Mark a key as not done, and say why."""
        self._update(cache_key, state=state, detail=canonical_json(detail).decode())

    def unfinished(self) -> list[Execution]:
        """List the executions that may still go on, oldest first."""
        statement = select(tables.executions).where(tables.executions.c.state.not_in(SETTLED))
        return self._select(statement.order_by(tables.executions.c.started))

    def distrust(self, digests: list[str]) -> int:
        """Mark the executions that made these records as damaged, so that they run anew.

        Returns:
            How many there were.
        """
        with self._database.write() as connection:
            changed = connection.execute(
                tables.executions.update().where(tables.executions.c.record.in_(digests)).values(state="damaged")
            )
            return changed.rowcount

    def _update(self, cache_key: str, **values: str) -> None:
        with self._database.write() as connection:
            connection.execute(
                tables.executions.update()
                .where(tables.executions.c.cache_key == cache_key)
                .values(ended=self._now(), **values)
            )

    def _select(self, statement: Select[Any]) -> list[Execution]:
        with self._database.read() as connection:
            return [Execution(*row) for row in connection.execute(statement)]

    def _now(self) -> str:
        return self._clock.now().isoformat(timespec="microseconds")
