"""Atomic files: temporary, fsync, rename, fsync of the folder. Nothing is ever half written.

The file system is an object, so that tests can fail its n-th call; see ``FileSystem``.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from luthier.foundation.core.errors import StoreError
from luthier.foundation.core.hashing import sha256_file

MANIFEST_NAME: Final = "manifest.json"
TEMPORARY_PREFIX: Final = ".tmp-"


class FileSystem:
    """The few calls that durable writes need. Tests subclass it to fail on purpose."""

    def write(self, path: Path, data: bytes) -> None:
        """Write bytes and wait until the disk has them."""
        with path.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())

    def write_chunks(self, path: Path, chunks: Iterable[bytes | memoryview]) -> None:
        """Write bytes as they come, so that memory stays flat, and wait until the disk has them."""
        with path.open("wb") as stream:
            for chunk in chunks:
                stream.write(chunk)
            stream.flush()
            os.fsync(stream.fileno())

    def append(self, path: Path, data: bytes) -> None:
        """Add bytes to a file's end, without waiting for the disk."""
        with path.open("ab") as stream:
            stream.write(data)

    def sync_file(self, path: Path) -> None:
        """Wait until the disk has a file that somebody else wrote."""
        with path.open("rb") as stream:
            os.fsync(stream.fileno())

    def sync_folder(self, path: Path) -> None:
        """Wait until the disk has a folder's entries."""
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def replace(self, source: Path, target: Path) -> None:
        """Rename in one step; a file of that name is replaced."""
        source.replace(target)


REAL: Final = FileSystem()


@contextmanager
def disk_errors(path: Path, doing: str) -> Iterator[None]:
    """Turn a full disk into an error that says so.

    Args:
        path: Where the write went.
        doing: What was being saved, for the sentence.

    Raises:
        StoreError: E-ENV-003 when the disk or the quota is full. Other OS errors pass.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        free = shutil.disk_usage(next(folder for folder in (path, *path.absolute().parents) if folder.exists())).free
        raise StoreError(
            "E-ENV-003",
            f"no space left while saving {doing}; what was saved before is intact",
            got=f"{free / 2**20:.0f} MiB free at {path}",
            allowed="enough free space for the file",
            fix="luthier gc",
        ) from error


def write_atomic(path: Path, data: bytes, *, fs: FileSystem = REAL) -> None:
    """Write a file so that readers see the old bytes or the new ones, never a mix.

    Args:
        path: Target; its folder must exist.
        data: The whole content.
        fs: File system to write through.

    Raises:
        StoreError: E-ENV-003 when the disk is full.
    """
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}")
    try:
        with disk_errors(path.parent, path.name):
            fs.write(temporary, data)
            fs.replace(temporary, path)
            fs.sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_folder_atomic(target: Path, fill: Callable[[Path], None], *, fs: FileSystem = REAL) -> None:
    """Make a folder with a manifest of digests, visible only when whole.

    Args:
        target: The folder to appear; must not exist.
        fill: Writes the files into the folder that it is given.
        fs: File system to write through.

    Raises:
        StoreError: E-ENV-003 when the disk is full.
    """
    temporary = target.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}")
    try:
        with disk_errors(target.parent, target.name):
            temporary.mkdir(parents=True)
            fill(temporary)
            manifest = {}
            for path in sorted(p for p in temporary.rglob("*") if p.is_file()):
                fs.sync_file(path)
                name = path.relative_to(temporary).as_posix()
                manifest[name] = {"sha256": sha256_file(path), "bytes": path.stat().st_size}
            fs.write(temporary / MANIFEST_NAME, json.dumps(manifest, indent=1, sort_keys=True).encode())
            for folder in sorted(p for p in temporary.rglob("*") if p.is_dir()):
                fs.sync_folder(folder)
            fs.sync_folder(temporary)
            fs.replace(temporary, target)
            fs.sync_folder(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def find_damage(folder: Path) -> str | None:
    """Compare a folder with its manifest.

    Args:
        folder: A folder made by :func:`write_folder_atomic`.

    Returns:
        None where every byte is as written, else one sentence that names the first difference.
    """
    manifest_path = folder / MANIFEST_NAME
    if not manifest_path.is_file():
        return f"{folder.name} has no {MANIFEST_NAME}"
    try:
        manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
        entries = {str(name): str(entry["sha256"]) for name, entry in manifest.items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        return f"{folder.name}/{MANIFEST_NAME} cannot be read"
    for name, digest in entries.items():
        path = folder / name
        if not path.is_file():
            return f"{folder.name}/{name} is missing"
        if sha256_file(path) != digest:
            return f"{folder.name}/{name} differs from its digest"
    present = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {MANIFEST_NAME}
    extra = sorted(present - set(entries))
    return f"{folder.name}/{extra[0]} was added" if extra else None
