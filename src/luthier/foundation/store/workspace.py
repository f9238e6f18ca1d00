"""One workspace: the folder that holds ``.luthier``. Start reading here."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Final, Self

from luthier.foundation.core.clock import Clock, SystemClock
from luthier.foundation.core.files import REAL, FileSystem
from luthier.foundation.store.approvals import Approvals
from luthier.foundation.store.audit import AuditLog
from luthier.foundation.store.blobs import FolderBlobs
from luthier.foundation.store.database import Database
from luthier.foundation.store.executions import Executions
from luthier.foundation.store.feedback import FeedbackStore
from luthier.foundation.store.locks import Locks, Pace
from luthier.foundation.store.records import RecordStore
from luthier.foundation.store.sweep import Sweeper, Swept

FOLDER_NAME: Final = ".luthier"
DATABASE_NAME: Final = "luthier.db"


def find_workspace(start: Path) -> Path:
    """Return the nearest folder upwards that holds ``.luthier``, else the start itself."""
    start = start.absolute()
    for folder in (start, *start.parents):
        if (folder / FOLDER_NAME).is_dir():
            return folder
    return start


class Workspace:
    """Records, blobs, executions, locks, approvals, feedback and audit of one folder.

    ``.luthier`` appears at the first write.

    Attributes:
        root: The folder that holds ``.luthier``.
        folder: ``.luthier`` itself.
    """

    def __init__(
        self, root: Path, *, fs: FileSystem, clock: Clock, pace: Pace | None = None, url: str | None = None
    ) -> None:
        """Wire the parts; use :meth:`open`."""
        self.root = root
        self.folder = root / FOLDER_NAME
        self.fs = fs
        self.clock = clock
        file = self.folder / DATABASE_NAME
        database = Database(url or f"sqlite:///{file}", file=None if url else file)
        self.database = database
        self.records = RecordStore(database, clock)
        self.blobs = FolderBlobs(self.folder / "blobs", fs=fs, find_referrers=self.records.find_referrers)
        self.executions = Executions(database, clock)
        self.locks = Locks(database, clock, pace=pace)
        self.audit = AuditLog(database, clock)
        self.approvals = Approvals(database, clock, self.audit)
        self.feedback = FeedbackStore(database, self.audit, clock)

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        fs: FileSystem = REAL,
        clock: Clock | None = None,
        pace: Pace | None = None,
        url: str | None = None,
    ) -> Self:
        """Open the workspace of a folder; nothing is written until something is stored.

        Args:
            folder: The folder that holds ``.luthier``, or will.
            fs: File system that durable writes go through.
            clock: Time; the machine's own unless a test brings one.
            pace: How locks beat and wait.
            url: SQLAlchemy URL of a database other than the folder's SQLite file.
        """
        return cls(folder.absolute(), fs=fs, clock=clock or SystemClock(), pace=pace, url=url)

    def gc(self, *, keep: timedelta = timedelta(days=7), is_dry_run: bool = False) -> Swept:
        """Delete blobs that no record names and folders of executions that ended long ago; never models."""
        sweeper = Sweeper(
            self.folder, blobs=self.blobs, records=self.records, executions=self.executions, locks=self.locks
        )
        return sweeper.sweep(now=self.clock.now(), keep=keep, is_dry_run=is_dry_run)

    def distrust_blob(self, digest: str) -> int:
        """Mark what made a lost or damaged blob, so that the next run makes it anew.

        Returns:
            Number of executions that will run again.
        """
        return self.executions.distrust([entry.digest for entry in self.records.find_mentions(digest)])
