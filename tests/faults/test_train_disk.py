"""A disk that fills at any write, and a disk that lies: what was saved before is intact, and the run ends the same."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from luthier.foundation.core.errors import StoreError, TrainError
from luthier.foundation.core.files import FileSystem, find_damage
from luthier.stages.train.checkpoint import CURSOR_NAME, MODEL_NAME, OPTIMIZER_NAME
from luthier.stages.train.loop import CHECKPOINTS_NAME
from tests.fixtures.train_jobs import FolderContext, make_job, train_job

pytestmark = pytest.mark.fault
JOB: dict[str, Any] = {"num_rows": 7, "num_validation": 2, "evaluate_every": 4, "checkpoint_every": 2}


@dataclass
class FullDisk(FileSystem):
    """Has room until the n-th call, and never again; what it wrote of that call is half of it."""

    fails_at: int | None = None
    calls: int = 0

    def _count(self, path: Path, half: bytes) -> None:
        self.calls += 1
        if self.fails_at is not None and self.calls >= self.fails_at:
            if half:
                path.write_bytes(half)
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    def write(self, path: Path, data: bytes) -> None:
        self._count(path, data[: len(data) // 2])
        super().write(path, data)

    def write_chunks(self, path: Path, chunks: Iterable[bytes | memoryview]) -> None:
        whole = b"".join(bytes(chunk) for chunk in chunks)
        self._count(path, whole[: len(whole) // 2])
        super().write_chunks(path, [whole])

    def sync_file(self, path: Path) -> None:
        self._count(path, b"")
        super().sync_file(path)

    def sync_folder(self, path: Path) -> None:
        self._count(path, b"")
        super().sync_folder(path)

    def replace(self, source: Path, target: Path) -> None:
        self._count(target, b"")
        super().replace(source, target)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, int]:
    """The weights of an undisturbed run, and how often it touched the disk."""
    folder = tmp_path_factory.mktemp("whole")
    disk = FullDisk()
    return train_job(make_job(folder, **JOB), ctx=FolderContext(folder, fs=disk)).weights_sha256, disk.calls


@pytest.mark.parametrize("part", range(4))
def test_a_disk_that_fills_at_any_write_says_so_and_loses_nothing(
    whole: tuple[str, int], tmp_path: Path, part: int
) -> None:
    """Every call of the whole run fails once, in four tests that share them out."""
    sha256, num_calls = whole
    for fails_at in range(1 + part, num_calls + 1, 4):
        folder = tmp_path / str(fails_at)
        folder.mkdir()
        job = make_job(folder, **JOB)
        with pytest.raises(StoreError) as caught:
            train_job(job, ctx=FolderContext(folder, fs=FullDisk(fails_at)))
        problem = caught.value.problems[0]
        assert (problem.code, problem.fix) == ("E-ENV-003", "luthier gc")
        assert "MiB free" in problem.got
        saved = [path for path in (folder / CHECKPOINTS_NAME).glob("step-*") if path.is_dir()]
        assert all(find_damage(path) is None for path in saved)
        if fails_at % 3 == 0:  # space is back: a third of the cases is run to its end, the others end as these do
            assert train_job(job).weights_sha256 == sha256, f"after call {fails_at} of {num_calls}"


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 16
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("name", [MODEL_NAME, OPTIMIZER_NAME, CURSOR_NAME])
@pytest.mark.parametrize("damage", [flip_a_bit, truncate, Path.unlink])
def test_a_damaged_newest_checkpoint_costs_its_steps_and_nothing_else(
    whole: tuple[str, int], tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    job = make_job(tmp_path, **JOB)
    train_job(job)
    newest = max((tmp_path / CHECKPOINTS_NAME).glob("step-*"))
    damage(newest / name)
    ctx = FolderContext(tmp_path)
    resumed = train_job(job, ctx=ctx)
    assert resumed.weights_sha256 == whole[0]
    assert f"checkpoint of step {int(newest.name[5:])} is not used" in ctx.said
    assert name in ctx.said
    repeated = job.plan.num_steps - int(sorted((tmp_path / CHECKPOINTS_NAME).glob("step-*"))[-2].name[5:])
    assert repeated >= 1
    assert len(list((tmp_path / CHECKPOINTS_NAME / "quarantine").iterdir())) >= 1


def test_a_disk_that_returns_other_bytes_than_it_took_is_found_out_at_once(tmp_path: Path) -> None:
    class LyingDisk(FileSystem):
        def write_chunks(self, path: Path, chunks: Iterable[bytes | memoryview]) -> None:
            super().write_chunks(path, chunks)
            self.last = path

        def replace(self, source: Path, target: Path) -> None:
            super().replace(source, target)
            if target.name.startswith("step-"):
                flip_a_bit(target / OPTIMIZER_NAME)

    with pytest.raises(TrainError) as caught:
        train_job(make_job(tmp_path, **JOB), ctx=FolderContext(tmp_path, fs=LyingDisk()))
    assert caught.value.code == "E-TRN-006"
    assert "optimizer.safetensors" in caught.value.problems[0].got
