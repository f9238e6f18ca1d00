"""Checkpoints: whole or absent, verified before use, an older one taken aloud, nothing deleted that may help."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from luthier.foundation.core.errors import TrainError
from luthier.foundation.core.files import MANIFEST_NAME, REAL
from luthier.stages.train.checkpoint import CURSOR_NAME, MODEL_NAME, OPTIMIZER_NAME, Checkpoints, Snapshot

FILES = (MODEL_NAME, OPTIMIZER_NAME, CURSOR_NAME)


def open_folder(folder: Path, *, run_key: str = "run") -> tuple[Checkpoints, list[str]]:
    said: list[str] = []
    return Checkpoints(folder, run_key=run_key, fs=REAL, say=said.append), said


def make_snapshot(step: int, *, best_step: int = 0) -> Snapshot:
    values = torch.arange(6.0) + step
    return Snapshot(step, {"w": values}, {"w/exp_avg": values / 2}, {"best_step": best_step, "guard": {}})


def save_steps(folder: Path, *steps: int, best_step: int = 0) -> None:
    checkpoints, _ = open_folder(folder)
    for step in steps:
        checkpoints.save(make_snapshot(step, best_step=best_step))


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_what_comes_back_is_what_was_saved_bit_for_bit(tmp_path: Path) -> None:
    save_steps(tmp_path, 4)
    back = open_folder(tmp_path)[0].restore()
    assert back is not None
    assert back.step == 4
    assert torch.equal(back.model["w"], torch.arange(6.0) + 4)
    assert torch.equal(back.optimizer["w/exp_avg"], (torch.arange(6.0) + 4) / 2)
    assert back.cursor == {"best_step": 0, "guard": {}, "run_key": "run", "step": 4}


def test_an_empty_folder_starts_from_the_beginning_without_a_word(tmp_path: Path) -> None:
    checkpoints, said = open_folder(tmp_path / "new")
    assert checkpoints.restore() is None
    assert said == []


@pytest.mark.parametrize("name", [*FILES, MANIFEST_NAME])
@pytest.mark.parametrize("damage", [flip_a_bit, truncate, Path.unlink])
def test_damage_to_the_newest_takes_the_older_one_and_says_so(
    tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    save_steps(tmp_path, 4, 8)
    damage(tmp_path / "step-00000008" / name)
    checkpoints, said = open_folder(tmp_path)
    back = checkpoints.restore()
    assert back is not None
    assert back.step == 4
    assert len(said) == 1
    assert "step 8" in said[0]
    assert "quarantine" in said[0]
    assert len(list((tmp_path / "quarantine").iterdir())) == 1
    checkpoints.save(make_snapshot(8))
    assert (open_folder(tmp_path)[0].restore() or back).step == 8


def test_when_nothing_is_intact_the_beginning_is_taken_and_everything_is_still_there(tmp_path: Path) -> None:
    save_steps(tmp_path, 4, 8)
    for step in (4, 8):
        flip_a_bit(tmp_path / f"step-{step:08d}" / MODEL_NAME)
    checkpoints, said = open_folder(tmp_path)
    assert checkpoints.restore() is None
    assert "starts again from step 0" in said[-1]
    assert len(list((tmp_path / "quarantine").iterdir())) == 2


def test_a_checkpoint_whose_best_is_damaged_is_not_gone_on_from(tmp_path: Path) -> None:
    save_steps(tmp_path, 2)
    save_steps(tmp_path, 4, 8, best_step=4)
    flip_a_bit(tmp_path / "step-00000004" / MODEL_NAME)
    checkpoints, said = open_folder(tmp_path)
    back = checkpoints.restore()
    assert back is None or back.step == 2
    assert "best checkpoint" in said[0]


def test_the_two_newest_and_the_best_stay(tmp_path: Path) -> None:
    checkpoints, _ = open_folder(tmp_path)
    for step in (2, 4, 6, 8, 10):
        checkpoints.save(make_snapshot(step, best_step=min(step, 4)))
    assert checkpoints.steps() == [10, 8, 4]


def test_a_damaged_one_does_not_count_among_the_two_newest_and_is_not_deleted(tmp_path: Path) -> None:
    save_steps(tmp_path, 2, 4)
    checkpoints, _ = open_folder(tmp_path)
    flip_a_bit(tmp_path / "step-00000004" / MODEL_NAME)
    checkpoints.save(make_snapshot(6))
    assert checkpoints.steps() == [6, 4, 2]


def test_what_a_killed_save_left_behind_is_swept_away(tmp_path: Path) -> None:
    save_steps(tmp_path, 4)
    (tmp_path / ".tmp-deadbeef").mkdir()
    (tmp_path / ".tmp-deadbeef" / MODEL_NAME).write_bytes(b"half")
    assert open_folder(tmp_path)[0].restore() is not None
    assert not list(tmp_path.glob(".tmp-*"))


def test_a_checkpoint_of_another_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    save_steps(tmp_path, 4)
    with pytest.raises(TrainError) as caught:
        open_folder(tmp_path, run_key="other")[0].restore()
    problem = caught.value.problems[0]
    assert problem.code == "E-TRN-004"
    assert (problem.allowed, problem.fix.split()[0]) == ("other", "mv")
    assert (tmp_path / "step-00000004" / MODEL_NAME).is_file()


def test_loading_a_damaged_checkpoint_is_an_error_with_the_way_out(tmp_path: Path) -> None:
    save_steps(tmp_path, 4)
    flip_a_bit(tmp_path / "step-00000004" / OPTIMIZER_NAME)
    with pytest.raises(TrainError) as caught:
        open_folder(tmp_path)[0].load(4)
    problem = caught.value.problems[0]
    assert problem.code == "E-TRN-006"
    assert "optimizer.safetensors" in problem.got
    assert "run the same command again" in problem.fix


def test_a_manifest_that_does_not_list_a_needed_file_is_damage(tmp_path: Path) -> None:
    """A file that vanished from the manifest and the disk alike must not leave the optimizer at its defaults."""
    save_steps(tmp_path, 4)
    folder = tmp_path / "step-00000004"
    (folder / OPTIMIZER_NAME).unlink()
    manifest = json.loads((folder / MANIFEST_NAME).read_text())
    del manifest[OPTIMIZER_NAME]
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest))
    checkpoints, said = open_folder(tmp_path)
    assert checkpoints.restore() is None
    assert "optimizer.safetensors" in said[0]
