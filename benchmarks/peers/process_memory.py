"""Memory of this process, as both sides of a benchmark measure it. Linux; standard library only."""

from __future__ import annotations

from pathlib import Path

STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")


def read_bytes(field: str) -> int:
    """Return one field of the process's status: ``VmRSS`` (now) or ``VmHWM`` (peak)."""
    for line in STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    message = f"{STATUS} has no {field}"
    raise ValueError(message)


def mark_loaded() -> int:
    """Forget the peak so far and return what is resident now: what loading alone takes."""
    CLEAR.write_text("5", encoding="ascii")
    return read_bytes("VmRSS")


def peak_above(loaded_bytes: int) -> int:
    """Return the peak since the mark, above what was resident then."""
    return read_bytes("VmHWM") - loaded_bytes
