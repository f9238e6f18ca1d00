"""Keeping house: bytes that no record names and folders of long-ended executions go. Models are never touched."""

from __future__ import annotations

import re
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from luthier.foundation.core.files import TEMPORARY_PREFIX
from luthier.foundation.store.blobs import FolderBlobs
from luthier.foundation.store.executions import Executions
from luthier.foundation.store.locks import Locks
from luthier.foundation.store.records import RecordStore

KEY_DIGITS: Final = 12
DIGEST_BYTES_PATTERN: Final = re.compile(rb"[0-9a-f]{64}")
FOLDERS: Final = ("runs", "work")


class Swept(NamedTuple):
    """What went, or would go in a dry run. Sizes in bytes."""

    blobs: tuple[str, ...]
    folders: tuple[str, ...]
    freed_bytes: int
    is_dry_run: bool


class Sweeper:
    """Finds what may go and deletes it.

    What is kept: every blob that a record mentions, directly or through a blob of JSON lines; every blob touched
    since the oldest execution that may still go on; the folders of executions that are running, waiting or younger
    than the given age.
    """

    def __init__(
        self, folder: Path, *, blobs: FolderBlobs, records: RecordStore, executions: Executions, locks: Locks
    ) -> None:
        """Remember the workspace's parts."""
        self._folder = folder
        self._blobs = blobs
        self._records = records
        self._executions = executions
        self._locks = locks

    def sweep(self, *, now: datetime, keep: timedelta = timedelta(days=7), is_dry_run: bool = False) -> Swept:
        """Delete what nothing needs.

        Args:
            now: The current time.
            keep: Age below which folders of ended executions stay, and within which a broken-off one may go on.
            is_dry_run: Only say what would go.
        """
        since = min(now.timestamp(), self._find_protected_since(now - keep))
        kept = self._find_reachable()
        idle = [digest for digest in self._blobs.iterate_digests() if digest not in kept]
        gone = [digest for digest in idle if self._blobs.locate(digest).stat().st_mtime < since]
        places = [self._blobs.locate(digest) for digest in gone]
        folders = self._find_old_folders(now - keep) + self._find_leftovers((now - keep).timestamp())
        freed = sum(place.stat().st_size for place in places) + sum(_measure(folder) for folder in folders)
        if not is_dry_run:
            for place in places:
                place.unlink()
            for folder in folders:
                shutil.rmtree(folder) if folder.is_dir() else folder.unlink()
        names = tuple(folder.relative_to(self._folder).as_posix() for folder in folders)
        return Swept(tuple(gone), names, freed, is_dry_run)

    def _find_protected_since(self, oldest: datetime) -> float:
        """Return the time from which on unnamed blobs may belong to an execution that goes on."""
        starts = [datetime.fromisoformat(holder.acquired) for holder in self._locks.holders()]
        for execution in self._executions.unfinished():
            started = datetime.fromisoformat(execution.started)
            if execution.state == "waiting" or started >= oldest:
                starts.append(started)
        return min(starts).timestamp() if starts else float("inf")

    def _find_reachable(self) -> set[str]:
        present = set(self._blobs.iterate_digests())
        front = self._records.mentioned_digests() & present
        reached: set[str] = set()
        while front:
            digest = front.pop()
            reached.add(digest)
            front |= (self._find_inner(digest) & present) - reached
        return reached

    def _find_inner(self, digest: str) -> set[str]:
        """Return the digests that a blob of JSON lines mentions, such as the images of its rows."""
        found: set[str] = set()
        with self._blobs.locate(digest).open("rb") as stream:
            if stream.read(1) not in {b"{", b"["}:
                return found
            for line in stream:
                found.update(match.decode() for match in DIGEST_BYTES_PATTERN.findall(line))
        return found

    def _find_old_folders(self, oldest: datetime) -> list[Path]:
        busy = {holder.cache_key[:KEY_DIGITS] for holder in self._locks.holders()}
        busy |= {
            execution.cache_key[:KEY_DIGITS]
            for execution in self._executions.unfinished()
            if execution.state == "waiting"
        }
        return [
            path
            for name in FOLDERS
            for path in sorted((self._folder / name).glob("*"))
            if path.is_dir() and path.name not in busy and _last_touched(path) < oldest.timestamp()
        ]

    def _find_leftovers(self, oldest: float) -> list[Path]:
        """Return the temporary files of writers that were killed."""
        found = sorted((self._folder / "blobs").glob(f"{TEMPORARY_PREFIX}*"))
        return [path for path in found if path.stat().st_mtime < oldest]


def _last_touched(folder: Path) -> float:
    return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))


def _measure(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(inner.stat().st_size for inner in path.rglob("*") if inner.is_file())
