"""What the system says of this process's memory."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from luthier.foundation.core.memory import read_peak_bytes, read_resident_bytes


def test_the_second_number_counts_pages(tmp_path: Path) -> None:
    (tmp_path / "statm").write_text("900 125 30 1 0 60 0\n")
    assert read_resident_bytes(statm=tmp_path / "statm") == 125 * os.sysconf("SC_PAGE_SIZE")


def test_where_the_system_does_not_say_nothing_is_held(tmp_path: Path) -> None:
    assert read_resident_bytes(statm=tmp_path / "none") == 0


@pytest.mark.skipif(sys.platform != "linux", reason="the oracle is Linux's /proc/self/status")
def test_the_kernel_says_the_same_in_its_other_file() -> None:
    """Pages are counted a little late there, so a few megabytes may lie between."""
    status = Path("/proc/self/status").read_text()
    resident = int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) * 1024
    assert abs(read_resident_bytes() - resident) < 16 << 20


def test_a_peak_is_this_process_own_and_stays_after_the_memory_is_given_back() -> None:
    """A large process starts a small one: the child's peak is neither its parent's nor forgotten when freed."""
    child = """
from luthier.foundation.core.memory import read_peak_bytes, read_resident_bytes
first = read_peak_bytes()
held = bytearray(b"x" * (64 << 20))
del held
print(first, read_peak_bytes(), read_resident_bytes())
"""
    parent = "import subprocess, sys; held = b'x' * (256 << 20); subprocess.run(sys.argv[1:], check=True)"
    command = [sys.executable, "-c", parent, sys.executable, "-c", child]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    first, peak, resident = (int(number) for number in done.stdout.split())
    assert first < 200 << 20
    assert peak - first > 50 << 20
    assert resident < peak


def test_where_the_file_does_not_say_the_system_call_does(tmp_path: Path) -> None:
    oracle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert read_peak_bytes(status=tmp_path / "none") == oracle * (1 if sys.platform == "darwin" else 1024)
