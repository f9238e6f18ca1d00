"""One workspace's database: opened late, upgraded by functions, refused when newer; transactions are short.

SQLite in WAL mode: readers never wait, writers queue at ``BEGIN IMMEDIATE``. Another database comes by URL.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event, inspect, select
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import NullPool

from luthier.foundation.core.errors import StoreError
from luthier.foundation.store import tables

BUSY_TIMEOUT_SECONDS: Final = 10.0
BUSY_TRIES: Final = 3
WAL_TRIES: Final = 50
WAL_PAUSE_SECONDS: Final = 0.02
VERSION_KEY: Final = "workspace_version"


def _add_approvals_and_feedback(connection: Connection) -> None:
    """Version 2. Whoever changes one of these tables writes its form of version 2 out here first."""
    tables.metadata.create_all(connection, tables=[tables.approvals, tables.feedback])


UPGRADES: Final[dict[int, Callable[[Connection], None]]] = {1: _add_approvals_and_feedback}
"""From the version of the key to the next one. To change a table: raise ``WORKSPACE_VERSION``, add a row here."""

_FULL: Final = {sqlite3.SQLITE_FULL}
_FULL_PERHAPS: Final = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}  # what a full disk gives the WAL's index
_ROOM_BYTES: Final = 1 << 20  # a WAL with its index and a few pages
_DAMAGED: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class Database:
    """Gives connections to a workspace's database, one a thread at a time; they close with the object.

    Args:
        url: SQLAlchemy URL.
        file: The SQLite file, which appears at the first write; None for a server.
    """

    def __init__(
        self,
        url: str,
        *,
        file: Path | None,
        version: int = tables.WORKSPACE_VERSION,
        upgrades: Mapping[int, Callable[[Connection], None]] = UPGRADES,
        busy_timeout_seconds: float = BUSY_TIMEOUT_SECONDS,
    ) -> None:
        """Remember where the database is; nothing is opened yet."""
        self._file = file
        self._version = version
        self._upgrades = upgrades
        self._is_ready = False
        self._engine = create_engine(url)
        self._writer = self._engine.execution_options(luthier_writes=True)
        self._quick_writer = self._engine.execution_options(luthier_writes=True, luthier_is_quick=True)
        if self._engine.dialect.name == "sqlite":
            _use_explicit_transactions(self._engine, busy_timeout_seconds)
        weakref.finalize(self, self._engine.dispose)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection that sees one consistent state; an absent workspace looks empty.

        Raises:
            StoreError: E-STO-001 newer workspace, E-STO-005 damaged, E-STO-007 not usable.
        """
        if self._file is not None and not self._file.exists():
            empty = create_engine("sqlite://", poolclass=NullPool)
            with empty.begin() as connection:
                tables.metadata.create_all(connection)
                yield connection
            return
        self._prepare()
        with self._translated(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self, *, is_durable: bool = True) -> Iterator[Connection]:
        """Give a connection in a transaction of its own, committed whole or not at all.

        Args:
            is_durable: Whether the disk must have it before the call returns. What means nothing after a loss of
                power, such as a lock, need not; the database stays whole either way.

        Raises:
            StoreError: As :meth:`read`, and E-ENV-003 when the disk is full.
        """
        self._prepare()
        with self._translated():
            connection = self._begin(self._writer if is_durable else self._quick_writer)
            try:
                yield connection
                connection.commit()
            finally:
                connection.close()

    def _begin(self, engine: Engine) -> Connection:
        for attempt in range(BUSY_TRIES):
            connection = engine.connect()
            try:
                connection.begin()
            except OperationalError as error:
                connection.close()
                if _sqlite_code(error) != sqlite3.SQLITE_BUSY or attempt == BUSY_TRIES - 1:
                    raise
            else:
                return connection
        raise AssertionError

    def _prepare(self) -> None:
        if self._is_ready:
            return
        with self._translated():
            if self._file is not None:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                _switch_to_wal(self._engine)
            connection = self._begin(self._writer)
            try:
                self._create_or_upgrade(connection)
                connection.commit()
            finally:
                connection.close()
        self._is_ready = True

    def _create_or_upgrade(self, connection: Connection) -> None:
        found = self._version
        if inspect(connection).has_table(tables.meta.name):
            statement = select(tables.meta.c.value).where(tables.meta.c.key == VERSION_KEY)
            found = int(connection.execute(statement).scalar_one())
        else:
            tables.metadata.create_all(connection)
            connection.execute(tables.meta.insert().values(key=VERSION_KEY, value=str(found)))
        if found > self._version:
            raise StoreError(
                "E-STO-001",
                "this workspace was made by a newer version of luthier",
                got=f"workspace version {found}",
                origin=str(self._file or self._engine.url.database),
                allowed=f"up to {self._version}",
                fix="pip install --upgrade luthier",
            )
        for version in range(found, self._version):
            self._upgrades[version](connection)
        if found < self._version:
            connection.execute(
                tables.meta.update().where(tables.meta.c.key == VERSION_KEY).values(value=str(self._version))
            )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (DatabaseError, sqlite3.DatabaseError) as error:  # the latter while the driver connects
            place = str(self._file or self._engine.url.database)
            raise _describe(error, place) from error


def _use_explicit_transactions(engine: Engine, busy_timeout_seconds: float) -> None:
    """Take transaction control away from the driver, which would begin late and upgrade locks midway."""

    def on_connect(connection: Any, _: Any) -> None:  # noqa: ANN401  driver's connection
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout = {int(busy_timeout_seconds * 1000)}")

    def on_begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        if options.get("luthier_writes", False):
            is_quick = options.get("luthier_is_quick", False)
            connection.exec_driver_sql(f"PRAGMA synchronous = {'NORMAL' if is_quick else 'FULL'}")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.exec_driver_sql("BEGIN")

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", on_begin)


def _switch_to_wal(engine: Engine) -> None:
    """Set the journal mode, which lives in the file; a rival that switches at the same moment makes it busy.

    The statement is closed before the pool may lend its connection to another thread: SQLite commits nothing while
    a statement is open.
    """
    with closing(engine.raw_connection()) as connection, closing(connection.cursor()) as cursor:
        for attempt in range(WAL_TRIES):
            try:
                cursor.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if _sqlite_code(error) != sqlite3.SQLITE_BUSY or attempt == WAL_TRIES - 1:
                    raise
                time.sleep(WAL_PAUSE_SECONDS)
            else:
                return


def _sqlite_code(error: DatabaseError | sqlite3.DatabaseError) -> int:
    cause = error.orig if isinstance(error, DatabaseError) else error
    return int(getattr(cause, "sqlite_errorcode", 0)) & 0xFF


def _has_room(place: str) -> bool:
    try:
        return shutil.disk_usage(Path(place).parent).free >= _ROOM_BYTES
    except OSError:  # no such folder: then room is not what lacks
        return True


def _describe(error: DatabaseError | sqlite3.DatabaseError, place: str) -> StoreError:
    got = str(error.orig if isinstance(error, DatabaseError) else error)
    code = _sqlite_code(error)
    if code in _FULL or (code in _FULL_PERHAPS and not _has_room(place)):
        return StoreError(
            "E-ENV-003",
            "no space left while writing the workspace's database; what was saved before is intact",
            got=place,
            allowed="enough free space for the database",
            fix="luthier gc",
        )
    if code in _DAMAGED:
        return StoreError(
            "E-STO-005",
            "the workspace's database is damaged",
            got=got,
            origin=place,
            allowed="a database as luthier wrote it",
            fix=f"mv {place} {place}.damaged",
        )
    return StoreError(
        "E-STO-007",
        "the workspace's database cannot be used now",
        got=got,
        origin=place,
        allowed="a database file that can be read and written",
        fix=f"ls -l {place}",
    )
