"""Law: resume equals uninterrupted, bit for bit, from whatever step, with dropout on."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from luthier.foundation.core.errors import Interrupted
from luthier.stages.train import loop
from luthier.stages.train.interrupt import Interrupts
from luthier.stages.train.job import Job
from luthier.stages.train.metrics import METRICS_NAME, read_metrics
from tests.fixtures.train_jobs import FULL, LORA, FolderContext, Trained, make_job, train_job

VALIDATED = {"num_rows": 12, "num_validation": 3, "evaluate_every": 2, "checkpoint_every": 1000}


def stop_after(monkeypatch: pytest.MonkeyPatch, job: Job, step: int) -> None:
    """Run until a signal that arrives while a step is computed."""
    interrupts = Interrupts()
    update = loop.apply_update

    def signalled(run: Any) -> None:
        update(run)
        if run.step == step:
            interrupts.received = signal.SIGTERM

    with monkeypatch.context() as patch:
        patch.setattr(loop, "apply_update", signalled)
        with pytest.raises(Interrupted, match=f"step {step} of"):
            train_job(job, interrupts=interrupts)


def curve_of(folder: Path) -> list[dict[str, Any]]:
    """Everything that is written down but the speed."""
    return [{k: v for k, v in line.items() if k != "tokens_per_second"} for line in read_metrics(folder / METRICS_NAME)]


@pytest.fixture(scope="module", params=["lora", "full"])
def uninterrupted(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], Trained, Path]:
    method = LORA if request.param == "lora" else FULL
    folder = tmp_path_factory.mktemp("whole")
    return method, train_job(make_job(folder, method=method, **VALIDATED)), folder


def test_resuming_after_any_step_ends_with_the_same_weights_and_curve(
    uninterrupted: tuple[dict[str, Any], Trained, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every step is tried: in the middle of an epoch, at its end, at a best and between bests."""
    method, whole, whole_folder = uninterrupted
    num_steps = make_job(tmp_path, method=method, **VALIDATED).plan.num_steps
    for step in range(1, num_steps):
        job = make_job(tmp_path / str(step), method=method, **VALIDATED)
        stop_after(monkeypatch, job, step)
        ctx = FolderContext(job.folder)
        resumed = train_job(job, ctx=ctx)
        assert resumed.weights_sha256 == whole.weights_sha256, f"after step {step}"
        assert curve_of(job.folder) == curve_of(whole_folder), f"after step {step}"
        assert resumed.curve.best_step == whole.curve.best_step
        assert (resumed.curve.num_resumes, ctx.said.count("going on")) == (1, 1)


def test_a_second_run_repeats_the_first(uninterrupted: tuple[dict[str, Any], Trained, Path], tmp_path: Path) -> None:
    method, whole, _ = uninterrupted
    assert train_job(make_job(tmp_path, method=method, **VALIDATED)).weights_sha256 == whole.weights_sha256


@pytest.mark.parametrize("part", ["optimizer", "dropout", "guard"])
def test_the_law_sees_a_part_of_the_state_that_is_lost(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutations: without moments, with another random stream, without the guard's memory, resuming differs.

    Nothing is validated, so that the weights are those of the last step.
    """
    unvalidated = VALIDATED | {"evaluate_every": 0}
    whole = train_job(make_job(tmp_path / "whole", **unvalidated))
    job = make_job(tmp_path / "cut", **unvalidated)
    stop_after(monkeypatch, job, 3)
    if part == "optimizer":
        monkeypatch.setattr(loop, "restore_state", lambda *_: None)
    elif part == "dropout":
        monkeypatch.setattr(loop, "derive_seed", lambda *names: 1 + len(str(names)))
    else:
        monkeypatch.setattr(loop, "LossGuard", lambda **_: loop.LiveRun.__dataclass_fields__["guard"].default_factory())
    resumed = train_job(job)
    if part == "guard":
        assert resumed.curve.train_loss != whole.curve.train_loss
    else:
        assert resumed.weights_sha256 != whole.weights_sha256
