"""Laws of one optimizer step: its gradient is that of its rows, however they are packed, ordered or dealt out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from luthier.stages.train import loop
from luthier.stages.train.job import Job
from luthier.stages.train.loop import LiveRun, accumulate_gradient, begin
from tests.fixtures.train_jobs import FolderContext, build_tuned, make_job, make_row, make_rows

PLAIN = {"type": "lora", "rank": 4}
TOLERANCE = 1e-5  # float32: sums of a few hundred products in another order


@dataclass
class OneOfMany:
    """A rank among several, alone in its process: sums over ranks are left to the test."""

    process_index: int
    num_processes: int
    is_main_process: bool = True

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def reduce(self, tensor: Tensor, reduction: str) -> Tensor:
        assert reduction == "sum"
        return tensor


def start(job: Job, accelerator: Any = None) -> LiveRun:
    run = begin(job, build_tuned(job), Accelerator(), FolderContext(job.folder))
    if accelerator is not None:
        run.accelerator = accelerator
    with torch.no_grad():  # away from B = 0, where half of the gradient is nothing
        for parameter in run.parameters.values():
            parameter.add_(0.05 * torch.cos(torch.arange(parameter.numel()).reshape(parameter.shape)))
    return run


def gradient_of(run: LiveRun, rows: Any) -> tuple[float, dict[str, Tensor]]:
    loss = accumulate_gradient(run, rows)["loss"]
    return loss, {name: p.grad for name, p in run.parameters.items() if p.grad is not None}


def distance(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    def flat(gradients: dict[str, Tensor]) -> Tensor:
        return torch.cat([gradients[name].flatten() for name in sorted(gradients)])

    assert ours.keys() == theirs.keys()
    return float((flat(ours) - flat(theirs)).norm() / flat(theirs).norm())


def job_with(folder: Path, pack_tokens: int) -> Job:
    return make_job(folder, pack_tokens=pack_tokens, method=PLAIN, batch_tokens=10_000, epochs=1.0)


@pytest.mark.parametrize("pack_tokens", [1, 50, 97, 10_000])
def test_the_gradient_of_a_step_does_not_depend_on_pack_tokens(tmp_path: Path, pack_tokens: int) -> None:
    rows = make_rows(12, seed=5)
    loss, gradient = gradient_of(start(job_with(tmp_path, pack_tokens)), rows)
    expected_loss, expected = gradient_of(start(job_with(tmp_path, 200)), rows)
    assert distance(gradient, expected) < TOLERANCE
    assert loss == pytest.approx(expected_loss, rel=TOLERANCE)


def test_the_gradient_of_a_step_does_not_depend_on_the_order_of_its_rows(tmp_path: Path) -> None:
    rows = make_rows(12, seed=5)
    _, gradient = gradient_of(start(job_with(tmp_path, 90)), rows[::-1])
    _, expected = gradient_of(start(job_with(tmp_path, 90)), rows)
    assert distance(gradient, expected) < TOLERANCE


@pytest.mark.parametrize("num_ranks", [2, 3, 16])
def test_the_gradients_of_all_ranks_add_up_to_that_of_one(tmp_path: Path, num_ranks: int) -> None:
    """With 16 ranks some get no pack at all; they still take part, with nothing."""
    rows = make_rows(12, seed=5)
    parts = [gradient_of(start(job_with(tmp_path, 60), OneOfMany(r, num_ranks)), rows) for r in range(num_ranks)]
    summed = {name: sum((part[1][name] for part in parts), start=torch.zeros(())) for name in parts[0][1]}
    loss, expected = gradient_of(start(job_with(tmp_path, 60)), rows)
    assert distance(summed, expected) < TOLERANCE
    assert sum(part[0] for part in parts) == pytest.approx(loss, rel=TOLERANCE)


def uneven_rows() -> Any:
    """One row with a single trained token and one with thirty: where a mean of means shows."""
    random = np.random.default_rng(3)
    short, long = (random.integers(3, 300, size=32) for _ in range(2))
    return (
        make_row(short, weights=[0.0] * 31 + [1.0], name="short"),
        make_row(long, weights=[0.0] * 2 + [1.0] * 30, name="long"),
    )


def reference_gradient(job: Job, rows: Any) -> dict[str, Tensor]:
    """Plain: each row alone through transformers' own forward, one mean over all trained tokens."""
    run = start(job)
    total, losses = 0.0, []
    for row in rows:
        ids_T = torch.from_numpy(row.token_ids_T.astype(np.int64))
        with run.loaded.plain_attention():
            logits_TV = run.loaded.model(input_ids=ids_T[None], use_cache=False).logits[0]
        logps_T = torch.log_softmax(logits_TV[:-1].float(), dim=-1).gather(1, ids_T[1:, None])[:, 0]
        weights_T = torch.from_numpy(row.weights_T[1:])
        losses.append(-(logps_T * weights_T).sum())
        total += float(weights_T.sum())
    (sum(losses) / total).backward()  # type: ignore[union-attr]
    return {name: p.grad for name, p in run.parameters.items() if p.grad is not None}


def test_a_step_is_the_mean_over_its_trained_tokens(tmp_path: Path) -> None:
    job, rows = job_with(tmp_path, 40), uneven_rows()
    assert distance(gradient_of(start(job), rows)[1], reference_gradient(job, rows)) < TOLERANCE


def mean_of_means(run: LiveRun, rows: Any) -> None:
    """The mistake: each pack divided by its own weights, then averaged."""
    packs = run.loaded.pack(rows, pack_tokens=run.job.plan.pack_tokens)
    for pack in packs:
        (loop.compute_loss(run, pack).total / pack.weights_M.sum().float() / len(packs)).backward()


def labels_shifted(run: LiveRun, rows: Any) -> None:
    """The mistake: predicting the token before the one that is trained."""
    shifted = [replace(row, weights_T=np.roll(row.weights_T, -1)) for row in rows]
    accumulate_gradient(run, shifted)


@pytest.mark.parametrize("mistake", [mean_of_means, labels_shifted])
def test_the_law_sees_the_mistake(tmp_path: Path, mistake: Callable[[LiveRun, Any], None]) -> None:
    job, rows = job_with(tmp_path, 40), uneven_rows()
    run = start(job)
    mistake(run, rows)
    wrong = {name: p.grad for name, p in run.parameters.items() if p.grad is not None}
    assert distance(wrong, reference_gradient(job, rows)) > 100 * TOLERANCE


def test_the_order_of_an_epoch_does_not_depend_on_packs(tmp_path: Path) -> None:
    seen = []
    for pack_tokens in (1, 64, 10_000):
        job = make_job(tmp_path / str(pack_tokens), pack_tokens=pack_tokens)
        seen.append(start(job).steps)
    assert seen[0] == seen[1] == seen[2]
