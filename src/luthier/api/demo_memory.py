"""The greatest memory that this process and its children hold together, looked at while work goes on."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from luthier.foundation.core.memory import read_peak_bytes

EVERY_SECONDS: Final = 0.5
_PROC: Final = Path("/proc")
_PSS: Final = re.compile(r"^Pss:\s+(\d+)", re.MULTILINE)


class FamilyMemory:
    """Looks every half second; shared pages count once, divided among their users.

    Where the system has no ``/proc``, it is this process's own peak.
    """

    def __init__(self) -> None:
        """Prepare; nothing is looked at before the context is entered."""
        self._peak = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @property
    def peak_bytes(self) -> int:
        """The greatest sum seen so far."""
        return self._peak or read_peak_bytes()

    def __enter__(self) -> Self:
        """Begin to look."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self._peak = max(self._peak, measure_family(os.getpid(), above=self._peak))
            if self._over.wait(EVERY_SECONDS):
                return


def measure_family(root: int, *, above: int = 0, proc: Path = _PROC) -> int:
    """Return what a process and its descendants hold now, in bytes; 0 where the system does not say.

    Args:
        root: Process id.
        above: Where they cannot hold more than this, 0 is returned: to divide shared pages the system walks through
            all of them, 30 milliseconds of every gigabyte in small pages, while whoever computes waits.
        proc: Linux's folder of processes.
    """
    parents: dict[int, int] = {}
    for folder in proc.glob("[0-9]*"):
        stat = _read(folder / "stat")
        if stat:
            parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])
    family = {root}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    resident = sum(int(sizes[1]) for pid in family if (sizes := _read(proc / str(pid) / "statm").split()))
    if resident * os.sysconf("SC_PAGE_SIZE") <= above:
        return 0
    found = [_PSS.search(_read(proc / str(pid) / "smaps_rollup")) for pid in family]
    return sum(1024 * int(match.group(1)) for match in found if match)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:  # it ended while we looked
        return ""
