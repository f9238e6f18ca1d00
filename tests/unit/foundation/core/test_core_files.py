"""Atomic writes when the disk fails at any call, and damage that is found whatever it is."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from luthier.foundation.core.errors import StoreError
from luthier.foundation.core.files import MANIFEST_NAME, find_damage, write_atomic, write_folder_atomic
from tests.fixtures.faulty_disk import FaultyFileSystem

OLD, NEW = b"old" * 1000, b"new" * 1000


def fill(folder: Path) -> None:
    (folder / "a.bin").write_bytes(NEW)
    (folder / "deep").mkdir()
    (folder / "deep" / "b.bin").write_bytes(OLD)


def count_calls(write: Callable[[FaultyFileSystem], None]) -> int:
    fs = FaultyFileSystem()
    write(fs)
    return fs.calls


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_at_any_call_leaves_the_old_file_or_the_new_one(tmp_path: Path, code: int) -> None:
    path = tmp_path / "file"
    calls = count_calls(lambda fs: write_atomic(path, OLD, fs=fs))
    assert calls == 3

    for n in range(1, calls + 1):
        path.write_bytes(OLD)
        with pytest.raises(StoreError) as caught:
            write_atomic(path, NEW, fs=FaultyFileSystem(n, code))

        assert caught.value.code == "E-ENV-003"
        assert path.read_bytes() == (NEW if n == calls else OLD)
        assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_says_what_was_being_saved_how_much_is_free_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        write_atomic(tmp_path / "run.json", NEW, fs=FaultyFileSystem(1))

    problem = caught.value.problems[0]
    assert caught.value.exit_code == 4
    assert "run.json" in problem.what
    assert problem.got.endswith(f"MiB free at {tmp_path}")
    assert problem.fix == "luthier gc"


def test_a_full_disk_at_any_call_leaves_no_folder_or_a_whole_one(tmp_path: Path) -> None:
    calls = count_calls(lambda fs: write_folder_atomic(tmp_path / "counted", fill, fs=fs))

    for n in range(1, calls + 1):
        target = tmp_path / f"folder{n}"
        with pytest.raises(StoreError):
            write_folder_atomic(target, fill, fs=FaultyFileSystem(n))

        assert not target.exists() or find_damage(target) is None
        assert not list(tmp_path.glob(".tmp-*"))
    assert target.exists(), "only the last call, the sync of the parent, comes after the rename"


def test_every_folder_inside_is_synced_before_the_rename(tmp_path: Path) -> None:
    order: list[str] = []

    class Recorder(FaultyFileSystem):
        def sync_folder(self, path: Path) -> None:
            order.append(path.name if path.name == "deep" else "top")

        def replace(self, source: Path, target: Path) -> None:
            order.append("rename")
            super().replace(source, target)

    write_folder_atomic(tmp_path / "folder", fill, fs=Recorder())

    assert order == ["deep", "top", "rename", "top"]


def test_an_error_of_whoever_fills_the_folder_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_bytes(b"x")
        raise RuntimeError("the filler failed")

    with pytest.raises(RuntimeError, match="filler"):
        write_folder_atomic(tmp_path / "folder", fail)

    assert list(tmp_path.iterdir()) == []


def test_another_fault_of_the_disk_is_not_called_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Input/output error") as caught:
        write_atomic(tmp_path / "file", NEW, fs=FaultyFileSystem(1, errno.EIO))

    assert not isinstance(caught.value, StoreError)


def test_a_folder_that_exists_is_not_written_over(tmp_path: Path) -> None:
    write_folder_atomic(tmp_path / "folder", fill)

    with pytest.raises(OSError, match="not empty"):
        write_folder_atomic(tmp_path / "folder", lambda folder: (folder / "other").write_bytes(b""))

    assert find_damage(tmp_path / "folder") is None
    assert not (tmp_path / "folder" / "other").exists()


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a flipped bit": (lambda f: flip(f / "a.bin"), "folder/a.bin differs from its digest"),
    "a truncated file": (lambda f: (f / "a.bin").write_bytes(NEW[:-1]), "folder/a.bin differs from its digest"),
    "a missing file": (lambda f: (f / "deep" / "b.bin").unlink(), "folder/deep/b.bin is missing"),
    "an added file": (lambda f: (f / "deep" / "c").write_bytes(b""), "folder/deep/c was added"),
    "no manifest": (lambda f: (f / MANIFEST_NAME).unlink(), "folder has no manifest.json"),
    "half a manifest": (lambda f: (f / MANIFEST_NAME).write_bytes(b'{"a.bin": {"sh'), "manifest.json cannot be read"),
    "a list as manifest": (lambda f: (f / MANIFEST_NAME).write_bytes(b"[1]"), "manifest.json cannot be read"),
    "binary as manifest": (lambda f: (f / MANIFEST_NAME).write_bytes(b"\xff\xfe"), "manifest.json cannot be read"),
    "an entry without digest": (lambda f: (f / MANIFEST_NAME).write_bytes(b'{"a": {}}'), "manifest.json cannot be"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found_and_named(tmp_path: Path, name: str) -> None:
    damage, sentence = DAMAGES[name]
    folder = tmp_path / "folder"
    write_folder_atomic(folder, fill)
    assert find_damage(folder) is None

    damage(folder)

    assert sentence in str(find_damage(folder))


def test_a_file_streamed_in_chunks_holds_all_of_them(tmp_path: Path) -> None:
    FaultyFileSystem().write_chunks(tmp_path / "file", iter([b"ab", memoryview(b"cd")]))

    assert (tmp_path / "file").read_bytes() == b"abcd"
