"""Open a file of rows: plain, gzip or zstd, told by its first bytes; lines of bounded length."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, cast

import pyarrow as pa

from luthier.foundation.core.errors import DataError, LuthierError

MAX_LINE_BYTES: Final = 16 << 20
MAX_DOCUMENT_BYTES: Final = 256 << 20

_GZIP_MAGIC: Final = b"\x1f\x8b"
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_UTF8_MARK: Final = b"\xef\xbb\xbf"
_WIDE_MARKS: Final = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


@contextmanager
def open_rows(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading and unpack it on the way.

    Args:
        path: The file. Its name does not matter; its first bytes tell how it is packed.

    Raises:
        DataError: E-DAT-001 when it cannot be opened, E-DAT-005 when the packed stream is damaged,
            E-DAT-006 when it begins with the mark of UTF-16.
    """
    stream = _open(path)
    try:
        with stream:
            yield stream
    except (EOFError, gzip.BadGzipFile, zlib.error, OSError) as error:
        if isinstance(error, LuthierError):
            raise
        raise DataError(
            "E-DAT-005",
            "the compressed file is cut off or damaged",
            got=str(error),
            origin=str(path),
            allowed="a whole gzip or zstd stream",
            fix=f"copy or compress {path.name} again; `gzip -t` or `zstd -t` tells whether it is whole",
        ) from error


def _open(path: Path) -> BinaryIO:
    if not path.is_file():
        raise DataError(
            "E-DAT-001",
            "there is no such file" if not path.exists() else "a source must be a file or a folder",
            got=str(path),
            allowed="JSONL, JSON, CSV or plain text, .gz or .zst or as it is; Parquet; a folder of such files",
            fix="check the path: it is relative to the recipe",
        )
    try:
        stream: BinaryIO = path.open("rb")
        head = cast("io.BufferedReader", stream).peek(4)[:4]
    except OSError as error:
        raise DataError(
            "E-DAT-001", f"the file cannot be read: {error.strerror}", got=str(path), fix=f"chmod u+r {path}"
        ) from error
    if head.startswith(_GZIP_MAGIC):
        stream.close()
        return cast("BinaryIO", gzip.open(path, "rb"))
    if head.startswith(_ZSTD_MAGIC):
        stream.close()
        return cast("BinaryIO", io.BufferedReader(pa.CompressedInputStream(pa.OSFile(str(path), "rb"), "zstd")))
    return stream


def iterate_lines(stream: BinaryIO, path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield each line that is not blank with its number from 1; a byte-order mark is taken off.

    Args:
        stream: An open file.
        path: For messages.

    Raises:
        DataError: E-DAT-004 for a line above ``MAX_LINE_BYTES``, which is never read whole; E-DAT-006 for UTF-16.
    """
    for number, line in iterate_raw_lines(stream, path):
        if stripped := line.strip():
            yield number, stripped


def iterate_raw_lines(stream: BinaryIO, path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield each line as it stands, line end included, with its number from 1; a byte-order mark is taken off.

    Raises:
        DataError: As :func:`iterate_lines`.
    """
    number = 0
    while line := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        if number == 1:
            line = strip_mark(line, path)
        if len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
            raise DataError(
                "E-DAT-004",
                "a line is too long to be one row",
                got=f"more than {MAX_LINE_BYTES} bytes, beginning {line[:40].decode('utf-8', 'replace')!r}",
                origin=f"{path} line {number}",
                allowed=f"at most {MAX_LINE_BYTES} bytes a line",
                fix="put one JSON object on each line, or `format: json` for one JSON document",
            )
        yield number, line


def read_document(stream: BinaryIO, path: Path) -> bytes:
    """Read a whole JSON document or text of bounded size.

    Raises:
        DataError: E-DAT-004 above ``MAX_DOCUMENT_BYTES``.
    """
    document = stream.read(MAX_DOCUMENT_BYTES + 1)
    if len(document) > MAX_DOCUMENT_BYTES:
        raise DataError(
            "E-DAT-004",
            "a document is too large to be read at once",
            got=f"more than {MAX_DOCUMENT_BYTES} bytes",
            origin=str(path),
            allowed=f"at most {MAX_DOCUMENT_BYTES} bytes a document; JSONL has no limit",
            fix="write one JSON object on each line (JSONL)",
        )
    return strip_mark(document, path)


def strip_mark(first: bytes, path: Path) -> bytes:
    """Take off the byte-order mark of UTF-8 and refuse that of UTF-16.

    Raises:
        DataError: E-DAT-006 for UTF-16.
    """
    encoding = _WIDE_MARKS.get(first[:2])
    if encoding is not None:
        raise DataError(
            "E-DAT-006",
            f"the file is {encoding}, not UTF-8",
            got=first[:2].hex(" "),
            origin=f"{path} line 1, byte 0",
            allowed="UTF-8, with or without a byte-order mark",
            fix=f"iconv -f {encoding} -t UTF-8 {path.name} > {path.stem}.utf8.jsonl",
        )
    return first.removeprefix(_UTF8_MARK)
