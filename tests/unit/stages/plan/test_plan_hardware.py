"""The machine is what the process may really use, container limits included."""

from __future__ import annotations

from pathlib import Path

import pytest

from luthier.stages.plan.hardware import find_hardware, parse_memory

MEMINFO = "MemTotal:       16000000 kB\nMemFree:  1 kB\nMemAvailable:   12000000 kB\n"
CPUINFO = (
    "model name\t: Some Processor\nflags\t\t: fpu avx512_bf16 sse\n\nmodel name\t: Some Processor\nflags\t\t: fpu\n"
)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A machine of 16 GB with a processor that multiplies bfloat16."""
    folder = tmp_path / "proc"
    folder.mkdir()
    (folder / "meminfo").write_text(MEMINFO)
    (folder / "cpuinfo").write_text(CPUINFO)
    return folder


def test_without_a_container_the_machine_counts(proc: Path, tmp_path: Path) -> None:
    found = find_hardware(proc=proc, cgroup=tmp_path / "none")
    assert found.memory_bytes == 16_000_000 * 1024
    assert found.available_bytes == 12_000_000 * 1024
    assert found.has_fast_bf16
    assert found.processor == "Some Processor"
    assert found.cores >= 1


@pytest.mark.parametrize(
    ("limit", "used"),
    [("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")],
)
def test_a_container_limit_below_the_machine_counts(proc: Path, tmp_path: Path, limit: str, used: str) -> None:
    cgroup = tmp_path / "cgroup"
    for name, value in ((limit, 4 * 2**30), (used, 2**30)):
        (cgroup / name).parent.mkdir(parents=True, exist_ok=True)
        (cgroup / name).write_text(f"{value}\n")
    found = find_hardware(proc=proc, cgroup=cgroup)
    assert found.memory_bytes == 4 * 2**30
    assert found.available_bytes == 3 * 2**30


def test_an_unlimited_container_changes_nothing(proc: Path, tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    assert find_hardware(proc=proc, cgroup=tmp_path).memory_bytes == 16_000_000 * 1024


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("auto", 7),
        ("8 GiB", 8 * 2**30),
        ("512MiB", 512 * 2**20),
        ("1.5 gb", 1_500_000_000),
        ("8", None),
        ("a lot", None),
    ],
)
def test_memory_sizes_are_read_with_their_unit(text: str, expected: int | None) -> None:
    assert parse_memory(text, available_bytes=7) == expected
