"""Freed memory on a CPU: kept where asking the kernel again costs time, handed back where it has crumbled."""

from __future__ import annotations

import ctypes
import gc
import sys
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from luthier.foundation.core.memory import read_resident_bytes

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_GIGABYTE: Final = 2**30
GROWTH: Final = 1.2
"""Resident memory above what a step left behind, from which freed blocks are handed back."""


@cache
def _find_libc() -> Any:  # noqa: ANN401  ctypes has no types for a library
    """Return glibc, or None where the C library is another one."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None


@cache
def keep_freed_memory() -> bool:
    """Tell glibc to reuse large freed blocks instead of handing them back; once a process.

    Returns:
        Whether it was told: False where the C library is another one.

    Source:
        mallopt(3): M_TRIM_THRESHOLD, M_MMAP_THRESHOLD. Measured on a training step: 11 % less time, a fifth less
        memory at the peak, since blocks of one size are reused.
    """
    libc = _find_libc()
    if libc is None:
        return False
    return bool(libc.mallopt(_MMAP_THRESHOLD, _GIGABYTE)) and bool(libc.mallopt(_TRIM_THRESHOLD, _GIGABYTE))


def hand_back_freed_memory() -> None:
    """Let go of what nobody holds, and hand freed blocks back; nothing where less than a gigabyte is resident.

    A model whose layers carry a forward pass of ours refers to itself, so it stays until the collector comes by:
    measured, a run that evaluates after training held 4.1 GiB where 0.9 suffice.
    """
    if read_resident_bytes() < _GIGABYTE:
        return
    gc.collect()
    if _find_libc() is not None:
        _find_libc().malloc_trim(0)


@dataclass
class FreedMemory:
    """Keeps a long run's memory where its first steps put it.

    Steps of many sizes leave holes that no later block fits, and over hundreds of steps resident memory doubles
    (measured: 409 steps of 500 to 850 tokens, 3.5 GiB where 2.0 are in use). Handing everything back after each step
    would cost a tenth of the time, so it is done only when memory has grown; where it grows again at once the steps
    really need more, and the mark moves.

    Attributes:
        mark_bytes: Resident memory that a step is expected to leave behind; 0 before the first.
        was_released: Whether the step before ended in handing memory back.
    """

    mark_bytes: int = 0
    was_released: bool = False

    def settle(self) -> None:
        """Look at the process after a step, and hand freed memory back where it has grown."""
        resident = read_resident_bytes()
        has_grown = resident > GROWTH * self.mark_bytes
        if has_grown and self.mark_bytes and not self.was_released and _find_libc() is not None:
            _find_libc().malloc_trim(0)
            self.was_released = True
            return
        self.mark_bytes = max(self.mark_bytes, resident) if has_grown else self.mark_bytes
        self.was_released = False
