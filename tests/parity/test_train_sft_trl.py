"""Our loop against TRL's SFTTrainer: the same rows at the same rate give the same curve and the same weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from luthier.stages.train.metrics import read_metrics
from tests.fixtures.tiny_models import build_tiny, make_tiny
from tests.fixtures.train_jobs import FULL, SMALL, make_job, train_job
from tests.fixtures.trl_arguments import list_trl_arguments

pytestmark = pytest.mark.parity
NUM_STEPS = 10
RATE = 2e-3


class Curve(TrainerCallback):
    """Keeps what TRL reports of each step."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.rates: list[float] = []
        self.norms: list[float] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if "loss" in logs:
            self.losses.append(float(logs["loss"]))
            self.rates.append(float(logs["learning_rate"]))
            self.norms.append(float(logs["grad_norm"]))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Curve, Any]:
    """Train the same tiny Llama both ways; one step sees all rows, so that no shuffling can tell them apart."""
    pytest.importorskip("trl")
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    folder = tmp_path_factory.mktemp("trl")
    job = make_job(
        folder / "ours",
        num_rows=8,
        epochs=float(NUM_STEPS),
        batch_tokens=100_000,
        learning_rate=RATE,
        warmup_steps=0,
        weight_decay=0.0,
        method=FULL,
    )
    ours = train_job(job)
    build_tiny("llama", folder / "tokenizer", **SMALL)
    curve = Curve()
    from transformers import AutoTokenizer

    trainer = SFTTrainer(
        model=make_tiny("llama", **SMALL),
        processing_class=AutoTokenizer.from_pretrained(folder / "tokenizer"),
        train_dataset=Dataset.from_list(
            [
                {"input_ids": row.token_ids_T.tolist(), "completion_mask": (row.weights_T > 0).astype(int).tolist()}
                for row in job.rows
            ]
        ),
        args=SFTConfig(
            **list_trl_arguments(folder / "theirs", num_steps=NUM_STEPS, learning_rate=RATE), completion_only_loss=True
        ),
        callbacks=[curve],
    )
    trainer.train()
    return list(read_metrics(folder / "ours" / "metrics.jsonl")), ours, curve, trainer.model


def test_the_loss_of_every_step_is_the_same(runs: tuple[Any, Any, Curve, Any]) -> None:
    ours = [line["loss"] for line in runs[0]]
    assert len(ours) == len(runs[2].losses) == NUM_STEPS
    # TRL reports four decimals; float32 sums in another order stay far below that
    torch.testing.assert_close(torch.tensor(ours), torch.tensor(runs[2].losses), rtol=0, atol=2e-4)
    assert ours[0] - ours[-1] > 0.5, "the curve must go somewhere, or equality says nothing"


def test_the_rate_and_the_gradient_norm_of_every_step_are_the_same(runs: tuple[Any, Any, Curve, Any]) -> None:
    rates, norms = ([line[name] for line in runs[0]] for name in ("learning_rate", "grad_norm"))
    torch.testing.assert_close(torch.tensor(rates), torch.tensor(runs[2].rates), rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(torch.tensor(norms), torch.tensor(runs[2].norms), rtol=2e-3, atol=1e-4)


def test_the_weights_at_the_end_are_the_same(runs: tuple[Any, Any, Curve, Any]) -> None:
    """AdamW divides by the root of small second moments, so rounding moves a weight by a share of the rate."""
    theirs = dict(runs[3].named_parameters())
    for name, parameter in runs[1].tuned.loaded.model.named_parameters():
        torch.testing.assert_close(parameter.detach(), theirs[name].detach(), rtol=0, atol=RATE * 0.05)
