"""The curve of a run: ``metrics.jsonl``, one object a step, on disk before the next step begins."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from luthier.foundation.core.files import REAL, FileSystem, disk_errors, write_atomic

METRICS_NAME: Final = "metrics.jsonl"


def read_metrics(path: Path) -> Iterator[dict[str, Any]]:
    """Yield whole lines; the rest of a file from the first torn line on is left out.

    Args:
        path: A metrics file; a missing one has no lines.
    """
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            return
        if not isinstance(entry, dict) or not isinstance(entry.get("step"), int):
            return
        yield entry


def find_last_step(path: Path) -> int:
    """Return the last step that a metrics file knows; 0 where there is none."""
    return max((int(entry["step"]) for entry in read_metrics(path)), default=0)


class MetricsLog:
    """Appends one line a step. Opened at a step, it forgets every later line of a former attempt."""

    def __init__(self, path: Path, *, after_step: int, fs: FileSystem = REAL, is_kept: bool = True) -> None:
        """Cut the file back to a step and open it for appending.

        Args:
            path: Where the lines go.
            after_step: Last step whose line is kept; 0 keeps none.
            fs: File system to rewrite the file through.
            is_kept: False in every process but the first of a run of several, which alone keeps the curve.
        """
        self._path = path
        self._stream: TextIOWrapper | None = None
        if not is_kept:
            return
        kept = [entry for entry in read_metrics(path) if int(entry["step"]) <= after_step]
        text = "".join(json.dumps(entry) + "\n" for entry in kept)
        write_atomic(path, text.encode(), fs=fs)
        self._stream = path.open("a", encoding="utf-8")

    def write(self, **figures: float | int | None) -> None:
        """Append one line and hand it to the system; figures that are None are left out.

        Raises:
            StoreError: E-ENV-003 when the disk is full.
        """
        if self._stream is None:
            return
        with disk_errors(self._path.parent, self._path.name):
            self._stream.write(json.dumps({k: v for k, v in figures.items() if v is not None}) + "\n")
            self._stream.flush()

    def __enter__(self) -> Self:
        """Return the open log."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()
