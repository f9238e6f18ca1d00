"""One owner per cache key: a row with a heartbeat. Who comes second waits, and takes over from the dead.

A heartbeat is a counter, and the one who waits judges it by its own monotonic clock, so neither a clock that
jumps nor hosts that disagree about the time make a living owner look dead.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, NamedTuple

from sqlalchemy import select

from luthier.foundation.core.clock import Clock
from luthier.foundation.core.errors import StoreError
from luthier.foundation.core.log import get_logger
from luthier.foundation.store import tables
from luthier.foundation.store.database import Database
from luthier.foundation.store.processes import find_process_start, is_same_process, name_host

LOGGER: Final = get_logger("foundation.store")


@dataclass(frozen=True)
class Pace:
    """How often a lock beats, how long silence may last, how often a waiter looks. Units: seconds."""

    beat_seconds: float = 5.0
    stale_seconds: float = 60.0
    poll_seconds: float = 0.5
    sleep: Callable[[float], None] = time.sleep


class Holder(NamedTuple):
    """Who holds a lock, as its row says."""

    cache_key: str
    owner: str
    host: str
    pid: int
    process_start: str
    beats: int
    acquired: str


class Lock:
    """A lock that this process holds; a thread keeps it beating."""

    def __init__(self, database: Database, cache_key: str, owner: str, beat_seconds: float) -> None:
        """Start beating."""
        self._database = database
        self._mine = (tables.locks.c.cache_key == cache_key) & (tables.locks.c.owner == owner)
        self._cache_key = cache_key
        self._beat_seconds = beat_seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat_until_released, name=f"lock-{cache_key[:12]}", daemon=True)
        self._thread.start()

    def is_held(self) -> bool:
        """Return whether the lock is still this process's own."""
        with self._database.read() as connection:
            return connection.execute(select(tables.locks.c.owner).where(self._mine)).one_or_none() is not None

    def check(self) -> None:
        """Make sure that nobody took the lock over.

        Raises:
            StoreError: E-STO-008 when it is lost.
        """
        if not self.is_held():
            raise StoreError(
                "E-STO-008",
                "another process took this execution over",
                got=f"lock {self._cache_key[:12]}",
                allowed="a lock that gives a sign of life every few seconds",
                fix="run the same command again",
            )

    def release(self) -> None:
        """Stop beating and let the next one in."""
        self._ended.set()
        self._thread.join()
        with self._database.write(is_durable=False) as connection:
            connection.execute(tables.locks.delete().where(self._mine))

    def _beat_until_released(self) -> None:
        while not self._ended.wait(self._beat_seconds):
            try:
                with self._database.write(is_durable=False) as connection:
                    connection.execute(tables.locks.update().where(self._mine).values(beats=tables.locks.c.beats + 1))
            except StoreError as error:  # a busy or full database now; silence is judged only after many beats
                LOGGER.warning("lock %s could not beat: %s", self._cache_key[:12], error.code)


class Locks:
    """The table of locks."""

    def __init__(self, database: Database, clock: Clock, *, pace: Pace | None = None) -> None:
        """Remember the database; nothing is read yet."""
        self._database = database
        self._clock = clock
        self._pace = pace or Pace()
        self._host = name_host()

    @contextmanager
    def hold(
        self,
        cache_key: str,
        *,
        is_settled: Callable[[], bool],
        on_wait: Callable[[Holder], None],
        on_takeover: Callable[[Holder], None],
    ) -> Iterator[Lock | None]:
        """Hold a key's lock, or wait until its owner has settled the matter.

        Args:
            cache_key: What is locked.
            is_settled: Says that waiting is over because the owner's result is there.
            on_wait: Called once with the owner before waiting.
            on_takeover: Called with the dead owner whose place is taken.

        Yields:
            The lock; None where the owner's result is there to be taken.
        """
        lock = self._acquire_or_wait(cache_key, is_settled=is_settled, on_wait=on_wait, on_takeover=on_takeover)
        try:
            yield lock
        finally:
            if lock is not None:
                lock.release()

    def holders(self) -> list[Holder]:
        """List the owners of all locks that may still be alive."""
        with self._database.read() as connection:
            found = [Holder(*row) for row in connection.execute(select(tables.locks))]
        return [holder for holder in found if not self._is_gone(holder)]

    def _acquire_or_wait(
        self,
        cache_key: str,
        *,
        is_settled: Callable[[], bool],
        on_wait: Callable[[Holder], None],
        on_takeover: Callable[[Holder], None],
    ) -> Lock | None:
        seen: Holder | None = None
        seen_since = 0.0
        has_waited = False
        while True:
            now = self._clock.monotonic()
            silent_seconds = now - seen_since
            dead = seen if seen and (self._is_gone(seen) or silent_seconds >= self._pace.stale_seconds) else None
            outcome = self._try_acquire(cache_key, dead)
            if isinstance(outcome, Lock):
                if dead:
                    on_takeover(dead)
                return outcome
            if outcome != seen:
                seen, seen_since = outcome, now
                if self._is_gone(outcome):
                    continue
            if not has_waited:
                on_wait(outcome)
                has_waited = True
            self._pace.sleep(self._pace.poll_seconds)
            if is_settled():
                return None

    def _try_acquire(self, cache_key: str, dead: Holder | None) -> Lock | Holder:
        owner = uuid.uuid4().hex
        mine = tables.locks.c.cache_key == cache_key
        with self._database.write(is_durable=False) as connection:
            row = connection.execute(select(tables.locks).where(mine)).one_or_none()
            if row is not None:
                holder = Holder(*row)
                if holder != dead:
                    return holder
                connection.execute(tables.locks.delete().where(mine))
            connection.execute(
                tables.locks.insert().values(
                    cache_key=cache_key,
                    owner=owner,
                    host=self._host,
                    pid=os.getpid(),
                    process_start=find_process_start(os.getpid()) or "",
                    beats=0,
                    acquired=self._clock.now().isoformat(timespec="microseconds"),
                )
            )
        return Lock(self._database, cache_key, owner, self._pace.beat_seconds)

    def _is_gone(self, holder: Holder) -> bool:
        return holder.host == self._host and not is_same_process(holder.pid, holder.process_start)
