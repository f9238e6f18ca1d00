"""Append to a log that several processes share: a line is there whole or not at all, also when the disk is full."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final

from luthier.foundation.core.files import REAL, FileSystem, disk_errors

_TAIL_BYTES: Final = 1 << 16


def append_line(path: Path, line: bytes, *, fs: FileSystem = REAL) -> int:
    """Append one line; rivals wait, and what a failure leaves behind is cut off again.

    It does not wait for the disk: after a loss of power the newest lines may lack, and a half line at the end is
    cut off by the next append.

    Args:
        path: The log; its folder must exist.
        line: The line without its end.
        fs: File system to write through.

    Returns:
        The log's length before the line, in bytes.

    Raises:
        StoreError: E-ENV-003 when the disk is full; the log is as it was.
        OSError: For other refusals of the system.
    """
    with disk_errors(path.parent, path.name):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            end = _cut_half_line(handle)
            try:
                fs.append(path, line + b"\n")
            except OSError:
                os.ftruncate(handle, end)
                raise
        finally:
            os.close(handle)
    return end


def _cut_half_line(handle: int) -> int:
    """Return the log's length after cutting off what follows its last line end."""
    size = os.fstat(handle).st_size
    end = size
    while end > 0:
        start = max(0, end - _TAIL_BYTES)
        found = os.pread(handle, end - start, start).rfind(b"\n")
        if found >= 0:
            end = start + found + 1
            break
        end = start
    if end < size:
        os.ftruncate(handle, end)
    return end
