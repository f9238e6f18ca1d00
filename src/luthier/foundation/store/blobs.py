"""Content-addressed bytes: ``blobs/ab/cdef…``, written atomically, verified on every read."""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from rfc8785 import CanonicalizationError

from luthier.foundation.core.errors import StoreError
from luthier.foundation.core.files import REAL, TEMPORARY_PREFIX, FileSystem, disk_errors
from luthier.foundation.core.hashing import CHUNK_BYTES, canonical_json, parse_canonical_json, sha256_bytes, sha256_file
from luthier.foundation.schema.rows import Row

DIGEST_LENGTH: Final = 64
PREFIX_LENGTH: Final = 2
LONG_NUMBER: Final = re.compile(rb"[0-9]{16}")


class FolderBlobs:
    """Implements ``schema.protocols.Blobs`` in a folder.

    Args:
        folder: Where blobs lie; appears at the first write.
        fs: File system that durable writes go through.
        find_referrers: Says who names a digest, for the error of a blob that is gone.
    """

    def __init__(
        self, folder: Path, *, fs: FileSystem = REAL, find_referrers: Callable[[str], list[str]] = lambda _: []
    ) -> None:
        """Remember the folder; nothing is written yet."""
        self._folder = folder
        self._fs = fs
        self._find_referrers = find_referrers

    def put(self, data: bytes) -> str:
        """Store bytes and return their digest.

        Raises:
            StoreError: E-ENV-003 when the disk is full; what was there stays.
        """
        digest = sha256_bytes(data)
        if not self._is_intact(digest):
            self._put_chunks([data])
        return digest

    def put_file(self, path: Path) -> str:
        """Store a file's bytes, read once and in chunks, and return their digest."""
        return self._put_chunks(_read_chunks(path))

    def get(self, digest: str) -> bytes:
        """Return verified bytes.

        Raises:
            StoreError: E-STO-002 when the blob is missing, E-STO-003 when it is damaged.
        """
        place = self._existing(digest)
        data = place.read_bytes()
        if sha256_bytes(data) != digest:
            raise self._damaged(digest)
        return data

    def path(self, digest: str) -> Path:
        """Return the path of a verified blob, for memory mapping.

        Raises:
            StoreError: E-STO-002 when the blob is missing, E-STO-003 when it is damaged.
        """
        place = self._existing(digest)
        if sha256_file(place) != digest:
            raise self._damaged(digest)
        return place

    def put_lines(self, objects: Iterable[Mapping[str, Any]]) -> str:
        """Store one canonical JSON object a line, as they come.

        Raises:
            StoreError: E-STO-006 when a value has no canonical form.
        """
        return self._put_chunks(_to_lines(objects))

    def get_lines(self, digest: str) -> Iterator[dict[str, Any]]:
        """Read back what ``put_lines`` stored; the blob is verified before the first line."""
        return map(parse_canonical_json, self._iterate_lines(self.path(digest)))

    def put_rows(self, rows: Iterable[Row]) -> str:
        """Store rows, one a line; what equals its default is left out, so lines are short."""
        return self.put_lines(dump_row(row) for row in rows)

    def get_rows(self, digest: str) -> Iterator[Row]:
        """Read rows back; the blob is verified before the first row."""
        return map(_parse_row, self._iterate_lines(self.path(digest)))

    def iterate_digests(self) -> Iterator[str]:
        """Yield the digest of every blob that is there."""
        for folder in sorted(self._folder.glob("[0-9a-f][0-9a-f]")):
            for place in sorted(folder.iterdir()):
                if len(place.name) == DIGEST_LENGTH - PREFIX_LENGTH:
                    yield folder.name + place.name

    def locate(self, digest: str) -> Path:
        """Return where a blob lies or would lie, unverified."""
        return self._folder / digest[:PREFIX_LENGTH] / digest[PREFIX_LENGTH:]

    def _is_intact(self, digest: str) -> bool:
        """Check a blob that is about to be stored again, and mark it as used now, so that ``gc`` spares it."""
        place = self.locate(digest)
        if not place.is_file() or sha256_file(place) != digest:
            return False
        os.utime(place)
        return True

    def _put_chunks(self, chunks: Iterable[bytes]) -> str:
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = self._folder / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
        hasher = hashlib.sha256()

        def hashed() -> Iterator[bytes]:
            for chunk in chunks:
                hasher.update(chunk)
                yield chunk

        try:
            with disk_errors(self._folder, "a blob"):
                self._fs.write_chunks(temporary, hashed())
                digest = hasher.hexdigest()
                if not self._is_intact(digest):
                    place = self.locate(digest)
                    place.parent.mkdir(exist_ok=True)
                    self._fs.replace(temporary, place)
                    self._fs.sync_folder(place.parent)
                    self._fs.sync_folder(self._folder)
        finally:
            temporary.unlink(missing_ok=True)
        return digest

    @staticmethod
    def _iterate_lines(path: Path) -> Iterator[bytes]:
        with path.open("rb") as stream:
            yield from stream

    def _existing(self, digest: str) -> Path:
        place = self.locate(digest)
        if place.is_file():
            return place
        raise StoreError(
            "E-STO-002",
            f"blob {digest[:12]} is missing from the workspace" + self._referred_by(digest),
            got=digest,
            origin=str(self._folder),
            allowed="a blob that is there",
            fix="luthier run RECIPE",
            field=digest,
        )

    def _damaged(self, digest: str) -> StoreError:
        return StoreError(
            "E-STO-003",
            f"blob {digest[:12]} differs from its digest" + self._referred_by(digest),
            got=digest,
            origin=str(self.locate(digest)),
            allowed="bytes whose sha256 is the blob's name",
            fix="luthier run RECIPE",
            field=digest,
        )

    def _referred_by(self, digest: str) -> str:
        found = self._find_referrers(digest)
        return f"; it belongs to {', '.join(found)}" if found else ""


def dump_row(row: Row) -> dict[str, Any]:
    """Return a row as JSON without what equals its default."""
    dumped = row.model_dump(mode="json", exclude_defaults=True)
    if not row.fields:
        dumped.pop("fields", None)
    return dumped


def _parse_row(line: bytes) -> Row:
    if LONG_NUMBER.search(line):
        return Row.model_validate(parse_canonical_json(line))
    return Row.model_validate_json(line)


def _read_chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            yield chunk


def _to_lines(objects: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    for number, item in enumerate(objects, start=1):
        try:
            line = canonical_json(dict(item))
        except CanonicalizationError as error:
            raise StoreError(
                "E-STO-006",
                f"object {number} holds a value that has no canonical form: {error}",
                got=item.get("id", f"object {number}"),
                allowed="finite numbers, integers up to 2**53 - 1, and whole Unicode text",
                fix="store the value as text",
            ) from error
        yield line + b"\n"
