"""Whether a process lives, told apart from a later one that got its number."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def name_host() -> str:
    """Name the space in which process numbers are unique: the host and, on Linux, its process namespace."""
    namespace = Path("/proc/self/ns/pid")
    inside = f"/{os.readlink(namespace)}" if namespace.exists() else ""  # noqa: PTH115  not a path: pid:[…]
    return socket.gethostname() + inside


def find_process_start(pid: int) -> str | None:
    """Return when a process started, as the kernel counts it.

    Returns:
        Ticks since boot; "" where the system does not tell; None where no such process runs (a zombie does not).
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:  # it lives and is another user's
        return ""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return None if fields[0] in {"Z", "X"} else fields[19]


def is_same_process(pid: int, process_start: str) -> bool:
    """Check that a process of this number lives and started when it says."""
    found = find_process_start(pid)
    return found is not None and (found == process_start or "" in {found, process_start})
