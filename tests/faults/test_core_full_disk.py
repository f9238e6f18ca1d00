"""A disk that is really full: a tmpfs of half a mebibyte."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from luthier.foundation.core.errors import StoreError
from luthier.foundation.core.files import find_damage, write_atomic, write_folder_atomic

pytestmark = pytest.mark.fault


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount half a mebibyte, or skip where this process may not mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"no right to mount a small disk here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_file_that_does_not_fit_leaves_the_old_one_and_no_rest(small_disk: Path) -> None:
    path = small_disk / "file"
    write_atomic(path, b"old")

    with pytest.raises(StoreError) as caught:
        write_atomic(path, b"x" * 2**20)

    assert caught.value.code == "E-ENV-003"
    assert path.read_bytes() == b"old"
    assert [p.name for p in small_disk.iterdir()] == ["file"]


def test_a_folder_that_does_not_fit_leaves_the_others_whole(small_disk: Path) -> None:
    write_folder_atomic(small_disk / "first", lambda f: (f / "a").write_bytes(b"a" * 1000))

    with pytest.raises(StoreError) as caught:
        write_folder_atomic(small_disk / "second", lambda f: (f / "b").write_bytes(b"b" * 2**20))

    assert caught.value.code == "E-ENV-003"
    assert "second" in caught.value.problems[0].what
    assert find_damage(small_disk / "first") is None
    assert [p.name for p in small_disk.iterdir()] == ["first"]
