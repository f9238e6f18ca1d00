"""How much memory this process holds, now and at its greatest, as the system says."""

from __future__ import annotations

import os
import re
import resource
import sys
from pathlib import Path
from typing import Final

_STATM: Final = Path("/proc/self/statm")
_STATUS: Final = Path("/proc/self/status")


def read_resident_bytes(*, statm: Path = _STATM) -> int:
    """Return the memory that this process holds now; 0 where the system does not say.

    Args:
        statm: Linux's file of sizes in pages; the second is what is resident.
    """
    if not statm.is_file():
        return 0
    return int(statm.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def read_peak_bytes(*, status: Path = _STATUS) -> int:
    """Return the greatest memory that this process has held so far.

    Args:
        status: Linux's file of names and values. What ``getrusage`` counts there outlives ``exec``: a small program
            started by a large one would be told its parent's peak.
    """
    if status.is_file():
        found = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(encoding="ascii", errors="replace"), re.MULTILINE)
        if found:
            return int(found[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # KiB on Linux, bytes on macOS
