"""The loop on a tiny model: what it writes down, what it keeps, when it stops."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from luthier.foundation.core.errors import TrainError
from luthier.foundation.core.files import REAL
from luthier.stages.train.checkpoint import Checkpoints
from luthier.stages.train.job import SummedLoss
from luthier.stages.train.loop import CHECKPOINTS_NAME
from luthier.stages.train.metrics import METRICS_NAME, read_metrics
from tests.fixtures.train_jobs import FULL, FolderContext, digest_tensors, make_job, train_job


def read_curve(folder: Path) -> list[dict[str, Any]]:
    return list(read_metrics(folder / METRICS_NAME))


def test_every_step_has_its_line_with_all_its_figures(tmp_path: Path) -> None:
    job = make_job(tmp_path, num_rows=8, num_validation=4, evaluate_every=2)
    train_job(job)
    curve = read_curve(tmp_path)
    assert [line["step"] for line in curve] == list(range(1, job.plan.num_steps + 1))
    assert all(
        {"loss", "learning_rate", "grad_norm", "num_tokens", "tokens_per_second", "epoch"} <= set(line)
        for line in curve
    )
    assert sum(line["num_tokens"] for line in curve) == 2 * sum(len(row.token_ids_T) for row in job.rows)
    with_validation = [line["step"] for line in curve if "validation_loss" in line]
    assert with_validation == [s for s in range(1, job.plan.num_steps + 1) if s % 2 == 0 or s == job.plan.num_steps]


def test_the_weights_kept_are_those_of_the_lowest_validation_loss(tmp_path: Path) -> None:
    """A rate so high that validation gets worse after its first look: the first look's weights must come back."""
    job = make_job(
        tmp_path, num_rows=12, num_validation=4, evaluate_every=1, learning_rate=0.03, warmup_steps=0, epochs=4.0
    )
    trained = train_job(job)
    losses = {line["step"]: line["validation_loss"] for line in read_curve(tmp_path)}
    best = min(losses, key=lambda step: losses[step])
    assert best < job.plan.num_steps, "the case is meant to get worse"
    assert (trained.curve.best_step, trained.curve.validation_loss) == (best, losses[best])
    saved = Checkpoints(tmp_path / CHECKPOINTS_NAME, run_key=job.run_key, fs=REAL, say=print).load(best)
    assert trained.weights_sha256 == digest_tensors(saved.model)


def test_without_validation_the_last_weights_are_kept(tmp_path: Path) -> None:
    job = make_job(tmp_path, num_rows=6)
    trained = train_job(job)
    assert (trained.curve.best_step, trained.curve.validation_loss) == (job.plan.num_steps, None)


def test_the_loss_falls_when_rows_are_learnt_by_heart(tmp_path: Path) -> None:
    job = make_job(tmp_path, num_rows=4, epochs=20.0, learning_rate=0.01, method=FULL, checkpoint_every=1000)
    train_job(job)
    curve = read_curve(tmp_path)
    assert curve[-1]["loss"] < 0.5 * curve[0]["loss"]


def test_nothing_moves_without_a_learning_rate_to_speak_of(tmp_path: Path) -> None:
    """The control of the test above: the same loop at rate 1e-12 leaves the loss of equal steps where it was."""
    job = make_job(tmp_path, num_rows=4, epochs=6.0, learning_rate=1e-12, batch_tokens=10_000, method=FULL)
    train_job(job)
    losses = [line["loss"] for line in read_curve(tmp_path)]
    assert max(losses) - min(losses) < 1e-5


def test_a_loss_that_is_no_number_stops_before_the_update_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    job = make_job(tmp_path, num_rows=12, checkpoint_every=2)
    objective = job.objective

    class Poisoned:
        calls = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(objective, name)

        def loss(self, tuned: Any, batch: Any, config: Any) -> SummedLoss:
            self.calls += 1
            return SummedLoss(objective.loss(tuned, batch, config).total * (math.nan if self.calls > 8 else 1.0))

    with pytest.raises(TrainError) as caught:
        train_job(replace(job, objective=Poisoned()))
    assert caught.value.code == "E-TRN-001"
    kept = sorted((tmp_path / CHECKPOINTS_NAME).glob("step-*"))
    assert f"checkpoint of step {int(kept[-1].name[5:])} is kept" in caught.value.problems[0].what
    assert all(math.isfinite(line["loss"]) for line in read_curve(tmp_path))
    assert train_job(job).curve.num_resumes == 1, "the kept checkpoint is one to go on from"


def test_a_learning_rate_that_diverges_is_stopped(tmp_path: Path) -> None:
    job = make_job(
        tmp_path, num_rows=8, epochs=20.0, learning_rate=30.0, warmup_steps=0, method=FULL, max_grad_norm=1e9
    )
    with pytest.raises(TrainError) as caught:
        train_job(job)
    assert caught.value.code in {"E-TRN-001", "E-TRN-002"}
    assert "train.learning_rate to 3.0e+00" in caught.value.problems[0].fix


def test_rows_that_make_fewer_steps_than_planned_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    job = make_job(tmp_path, num_rows=8)
    with pytest.raises(TrainError) as caught:
        train_job(replace(job, rows=job.rows[:2]))
    problem = caught.value.problems[0]
    assert (problem.code, problem.allowed) == ("E-TRN-008", f"{job.plan.num_steps} steps")
    assert not list(tmp_path.iterdir())


def test_bf16_trains_about_as_fp32_does(tmp_path: Path) -> None:
    job = make_job(tmp_path, num_rows=6, precision="bf16")
    plain = train_job(make_job(tmp_path / "plain", num_rows=6))
    coarse = train_job(job)
    assert coarse.curve.train_loss == pytest.approx(plain.curve.train_loss, rel=0.02)


def test_a_finished_run_is_taken_up_at_its_end_and_repeats_nothing(tmp_path: Path) -> None:
    job = make_job(tmp_path, num_rows=6)
    first = train_job(job)
    ctx = FolderContext(tmp_path)
    again = train_job(job, ctx=ctx)
    assert again.weights_sha256 == first.weights_sha256
    assert "0 steps are repeated" in ctx.said
