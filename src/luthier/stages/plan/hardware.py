"""What machine this is: cores and memory that this process may really use, and what its processor can do."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Any, Final

from luthier.foundation.schema.noun import Noun

BF16_FLAGS: Final = frozenset({"avx512_bf16", "amx_bf16"})
GIBIBYTE: Final = 2**30


class Hardware(Noun):
    """One machine as this process sees it.

    Attributes:
        cores: Processors that the scheduler lets us use.
        memory_bytes: Memory of the machine, or of the container where that is less.
        available_bytes: What is free of it now.
        has_fast_bf16: Whether the processor multiplies bfloat16 natively; measured speed decides, not this flag.
        device: ``cpu``; accelerators are found by the engine.
    """

    cores: int
    memory_bytes: int
    available_bytes: int
    processor: str
    system: str
    has_fast_bf16: bool
    device: str = "cpu"

    def describe(self) -> dict[str, Any]:
        """Return the fields for a Plan's witness."""
        return self.model_dump(mode="json")


def find_hardware(*, proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> Hardware:
    """Look at the machine.

    Args:
        proc: Where the kernel's process files are mounted.
        cgroup: Where control groups are mounted.
    """
    total, available = _read_memory(proc)
    limit, used = _read_cgroup_memory(cgroup)
    if limit is not None and limit < total:
        total, available = limit, min(available, max(0, limit - used))
    cpuinfo = _read(proc / "cpuinfo")
    flags = re.search(r"^flags\s*:(.*)$", cpuinfo, re.MULTILINE)
    model = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return Hardware(
        cores=count_cores(),
        memory_bytes=total,
        available_bytes=available,
        processor=model[1] if model else platform.processor() or platform.machine(),
        system=f"{platform.system()} {platform.machine()}",
        has_fast_bf16=bool(flags and BF16_FLAGS & set(flags[1].split())),
    )


def count_cores() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _read_memory(proc: Path) -> tuple[int, int]:
    """Return total and available bytes; on systems without /proc ask sysconf."""
    fields = {name: int(kib) * 1024 for name, kib in re.findall(r"^(\w+):\s+(\d+) kB", _read(proc / "meminfo"), re.M)}
    if "MemTotal" in fields:
        return fields["MemTotal"], fields.get("MemAvailable", fields["MemTotal"])
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return total, total


def _read_cgroup_memory(cgroup: Path) -> tuple[int | None, int]:
    """Return limit and use in bytes of cgroup v2 or v1; no limit is None."""
    for limit_name, used_name in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        limit, used = _read(cgroup / limit_name).strip(), _read(cgroup / used_name).strip()
        if limit.isdigit():
            return int(limit), int(used or 0)
    return None, 0


def parse_memory(text: str, *, available_bytes: int) -> int | None:
    """Read ``plan.memory_limit``.

    Args:
        text: ``auto``, or a number with GiB, MiB, GB or MB.
        available_bytes: What ``auto`` means.

    Returns:
        Bytes, or None when the text is not a size.
    """
    if text == "auto":
        return available_bytes
    units = {"gib": 2**30, "mib": 2**20, "gb": 10**9, "mb": 10**6}
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([GM]i?B)\s*", text, re.IGNORECASE)
    return int(float(found[1]) * units[found[2].lower()]) if found else None
