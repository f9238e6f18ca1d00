"""What the system says of this process's memory."""

from __future__ import annotations

import os
import re
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
    resident, peak = (int(re.findall(rf"{name}:\s+(\d+) kB", status)[0]) * 1024 for name in ("VmRSS", "VmHWM"))
    assert abs(read_resident_bytes() - resident) < 16 << 20
    assert abs(read_peak_bytes() - peak) < 16 << 20
