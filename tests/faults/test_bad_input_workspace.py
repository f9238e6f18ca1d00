"""Workspaces that are newer, damaged, absent or full, through the real command line: nothing is lost, all goes on."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest

from luthier.foundation.core.files import REAL, FileSystem
from tests.fixtures.bad_input import Desk, check_refusal, check_words, watch

pytestmark = pytest.mark.fault


def alter(desk: Desk, statement: str) -> None:
    with closing(sqlite3.connect(desk.folder / ".luthier" / "luthier.db")) as connection:
        connection.execute(statement)
        connection.commit()


def digest_files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and "-shm" not in path.name}


@pytest.mark.parametrize("words", [["run", "good.yaml"], ["runs"], ["status"], ["gc"], ["data", "why", "latest", "x"]])
def test_a_workspace_of_a_newer_version_is_left_alone(desk: Desk, words: list[str]) -> None:
    alter(desk, "update meta set value = '99' where key = 'workspace_version'")
    spoken, shown = desk.call(*words), desk.call(*words, "--json")
    check_words(spoken, shown, exit_code=4, codes=["E-STO-001"], parts=["version 99", "pip install --upgrade luthier"])
    alter(desk, "update meta set value = '1' where key = 'workspace_version'")
    assert desk.reuses_everything(), "nothing was touched"


def test_a_newer_workspace_is_refused_in_a_process_of_its_own_before_torch_is_imported(desk: Desk) -> None:
    alter(desk, "update meta set value = '99' where key = 'workspace_version'")
    before = digest_files(desk.folder / ".luthier" / "blobs")
    watch(desk, "run", "good.yaml", "--until", "data", exit_code=4, code="E-STO-001")
    assert digest_files(desk.folder / ".luthier" / "blobs") == before


def test_a_database_that_is_none_is_refused_and_kept(desk: Desk) -> None:
    place = desk.folder / ".luthier" / "luthier.db"
    good = place.read_bytes()
    for side in place.parent.glob("luthier.db-*"):
        side.unlink()
    place.write_bytes(b"not a database at all " * 100)
    spoken, shown = (desk.call("run", "good.yaml", "--until", "data", *more) for more in ((), ("--json",)))
    check_words(spoken, shown, exit_code=4, codes=["E-STO-005"], parts=["damaged", "mv "])
    assert place.read_bytes().startswith(b"not a database"), "it is not overwritten"
    place.write_bytes(good)
    assert desk.reuses_everything()


def test_a_damaged_blob_is_told_and_the_next_run_makes_it_anew(desk: Desk) -> None:
    before = desk.keep()
    for path in (desk.folder / ".luthier" / "blobs").rglob("*"):
        if path.is_file():
            path.chmod(0o644)
            path.write_bytes(b"rotten")
    for _ in range(8):
        ended = desk.call("run", "good.yaml", "--until", "train", "--json")
        assert "Traceback" not in ended.err
        if ended.code == 0:
            break
        assert ended.code in {2, 4}, ended.err
        assert {problem["code"] for problem in ended.problems} <= {"E-STO-002", "E-STO-003"}
    assert ended.code == 0, ended.err
    assert before.records <= desk.keep().records, "the records are those that were there"


@pytest.mark.parametrize(
    "words",
    [["gc"], ["status"], ["runs"], ["gc", "--dry-run"]],
)
def test_keeping_house_where_there_is_no_workspace_makes_none_and_is_no_error(tmp_path: Path, words: list[str]) -> None:
    desk = Desk(tmp_path)
    ended = desk.call(*words, "--json", "--workspace", str(tmp_path / "nowhere"))
    assert ended.code == 0, ended.err
    assert not list(tmp_path.iterdir())


def test_an_age_below_zero_is_refused_and_nothing_is_deleted(desk: Desk) -> None:
    check_refusal(desk, ["gc", "--days", "-1"], codes=["E-REC-014"], parts=["0 to 36500"])
    check_refusal(desk, ["gc", "--days", "nan"], codes=["E-REC-014"], parts=["luthier gc --days 7"])


@pytest.mark.parametrize("words", [["logs", "abcdef"], ["runs", "compare", "abcd", "ef01"]])
def test_a_run_that_is_not_there_is_refused_with_where_to_look(desk: Desk, words: list[str]) -> None:
    check_refusal(desk, words, codes=["E-STO-004"], parts=["luthier runs"])


class FullDisk:
    """Has room until its n-th write, and never again; a failing write leaves half of its bytes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fails_at: int | None = None) -> None:
        self.calls = 0
        self.fails_at = fails_at
        write, write_chunks, sync, replace = (
            getattr(FileSystem, name) for name in ("write", "write_chunks", "sync_file", "replace")
        )

        def on_write(fs: FileSystem, path: Path, data: bytes) -> None:
            self.count(path, data)
            write(fs, path, data)

        def on_chunks(fs: FileSystem, path: Path, chunks: Iterable[bytes | memoryview]) -> None:
            whole = b"".join(bytes(chunk) for chunk in chunks)
            self.count(path, whole)
            write_chunks(fs, path, [whole])

        def on_sync(fs: FileSystem, path: Path) -> None:
            self.count(path, b"")
            sync(fs, path)

        def on_replace(fs: FileSystem, source: Path, target: Path) -> None:
            self.count(target, b"")
            replace(fs, source, target)

        assert type(REAL) is FileSystem
        for name, method in {
            "write": on_write,
            "write_chunks": on_chunks,
            "sync_file": on_sync,
            "replace": on_replace,
        }.items():
            monkeypatch.setattr(FileSystem, name, method)

    def count(self, path: Path, data: bytes) -> None:
        self.calls += 1
        if self.fails_at is not None and self.calls >= self.fails_at:
            if data:
                path.write_bytes(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def run_on_full_disk(desk: Desk, fails_at: int | None) -> tuple[int, int]:
    """Train a new run on a disk that fills at the n-th write; return how often it was touched and the exit code."""
    with pytest.MonkeyPatch.context() as patch:
        disk = FullDisk(patch, fails_at)
        ended = desk.call("run", "new.yaml", "--until", "train", "--json")
    assert "Traceback" not in ended.err
    if fails_at is not None:
        assert ended.code == 4, ended.err
        (problem,) = ended.problems
        assert (problem["code"], problem["fix"]) == ("E-ENV-003", "luthier gc")
        assert "MiB free" in problem["got"]
    return disk.calls, ended.code


def list_digests(desk: Desk) -> list[str]:
    """Run the new recipe until train and return its records."""
    ended = desk.call("run", "new.yaml", "--until", "train", "--json")
    assert ended.code == 0, ended.err
    return [stage["digest"] for stage in ended.answer["stages"]]


def copy_desk(desk: Desk, folder: Path) -> Desk:
    return Desk(Path(shutil.copytree(desk.folder, folder)))


SHARES = [pytest.param(share, marks=() if share == 0 else pytest.mark.slow) for share in range(4)]


@pytest.mark.parametrize("share", SHARES)
def test_a_disk_that_fills_at_the_nth_write_of_a_run_loses_nothing(desk: Desk, tmp_path: Path, share: int) -> None:
    """All writes of a whole run, a quarter in each test; by default an eighth of one."""
    desk.write_recipe(("rank: 2", "rank: 3"), ("checkpoints: 1", "checkpoints: 2"), name="new.yaml")
    whole = copy_desk(desk, tmp_path / "whole")
    num_calls, code = run_on_full_disk(whole, None)
    assert code == 0
    assert num_calls > 20
    expected = list_digests(whole)
    before = desk.keep()
    moments = range(1 + share, num_calls + 1, 4)
    for fails_at in moments if share else moments[::8]:
        failed = copy_desk(desk, tmp_path / f"full-{fails_at}")
        run_on_full_disk(failed, fails_at)
        after = failed.keep()
        assert not before.loses_to(after), f"write {fails_at} of {num_calls}"
        assert not list(failed.folder.rglob(".tmp-*")), f"write {fails_at} of {num_calls} left half a file"
        assert "run" not in {kind for _, kind, _ in after.records - before.records}
        assert failed.reuses_everything()
        assert list_digests(failed) == expected, "with space again it ends the same"
        shutil.rmtree(failed.folder)


def test_a_real_full_disk_is_exit_code_4_and_the_same_command_goes_on_when_there_is_room(tmp_path: Path) -> None:
    mount, umount = shutil.which("mount"), shutil.which("umount")
    place = tmp_path / "small"
    place.mkdir()
    command = [mount or "", "-t", "tmpfs", "-o", "size=2m", "none", str(place)]
    if not mount or not umount or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("this system does not let a test mount a small file system")
    try:
        desk = Desk(place)
        desk.write("rows.jsonl", "".join(f'{{"prompt": "q{n}", "completion": "a{n}"}}\n' for n in range(400)))
        desk.write("small.yaml", "name: small\ndata: {sources: [{path: rows.jsonl}]}\n")
        free_bytes = os.statvfs(place).f_bavail * os.statvfs(place).f_frsize
        desk.write("filler", b"x" * (free_bytes - 32_768))
        ended = desk.spawn("run", "small.yaml", "--until", "data", "--json")
        assert ended.code == 4, ended.err
        assert ended.problems[0]["code"] == "E-ENV-003"
        assert "Traceback" not in ended.err
        (place / "filler").unlink()
        ended = desk.spawn("run", "small.yaml", "--until", "data", "--json")
        assert ended.code == 0, ended.err
        assert not list((place / ".luthier").rglob(".tmp-*"))
    finally:
        subprocess.run([umount, str(place)], check=True)
