"""Our preference objective against TRL's DPOTrainer: its loss on the same log-probabilities, its curve on one model."""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import TrainerCallback

from luthier.foundation.registry import load_config
from luthier.stages.train.metrics import read_metrics
from luthier.stages.train.objectives.dpo.objective import pair_losses
from tests.fixtures.pair_jobs import make_pair_job
from tests.fixtures.tiny_models import build_tiny
from tests.fixtures.train_jobs import SMALL, build_tuned, train_job
from tests.fixtures.trl_arguments import list_trl_arguments

pytestmark = [
    pytest.mark.parity,
    # PEFT 0.21 and TRL 1.16 ask transformers 5.23 a question by its old name: huggingface/peft, save_and_load
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]
NUM_STEPS = 8
RATE = 5e-3
BETA = 0.25


def their_loss(logps_P2: Tensor, reference_P2: Tensor, *, beta: float, loss_type: str, smoothing: float) -> Tensor:
    """Run TRL's own ``_compute_loss`` on log-probabilities that a stub of a model hands it."""
    dpo_trainer = pytest.importorskip("trl.trainer.dpo_trainer")

    def model(**_: Any) -> Any:
        per_token = torch.cat([logps_P2[:, 0], logps_P2[:, 1]])[:, None]  # one token an answer holds the whole sum
        seen = torch.zeros_like(per_token)
        return SimpleNamespace(log_probs=per_token, entropy=seen, mean_logits=seen, is_top1=seen.bool())

    def gather(value: Tensor) -> Tensor:
        return value

    mask = torch.tensor([[0, 1]]).repeat(2 * len(logps_P2), 1)
    trainer = SimpleNamespace(
        model=SimpleNamespace(training=True),
        accelerator=SimpleNamespace(device="cpu", gather_for_metrics=gather, gather=gather),
        aux_loss_enabled=False,
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        loss_types=[loss_type],
        loss_weights=[1.0],
        label_smoothing=smoothing,
        beta=beta,
        use_weighting=False,
        _metrics=defaultdict(lambda: defaultdict(list)),
        _total_train_tokens=0,
        _tp_size=1,
    )
    inputs = {
        "input_ids": torch.ones_like(mask),
        "attention_mask": torch.ones_like(mask),
        "completion_mask": mask,
        "ref_chosen_logps": reference_P2[:, 0],
        "ref_rejected_logps": reference_P2[:, 1],
    }
    loss: Tensor = dpo_trainer.DPOTrainer._compute_loss(trainer, model, inputs, return_outputs=False)
    return loss


@pytest.mark.parametrize("beta", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("loss_type", ["sigmoid", "hinge"])
def test_the_loss_and_its_gradient_are_those_of_trl_on_the_same_log_probabilities(loss_type: str, beta: float) -> None:
    generator = torch.Generator().manual_seed(0)
    ours, theirs = (
        (-30 * torch.rand(64, 2, generator=generator, dtype=torch.float64)).requires_grad_() for _ in range(2)
    )
    with torch.no_grad():
        theirs.copy_(ours)
    reference = -30 * torch.rand(64, 2, generator=generator, dtype=torch.float64)
    config: Any = load_config("objectives", "dpo").model_validate({"beta": beta, "loss_type": loss_type})
    rewards = beta * (ours - reference)
    loss = pair_losses(rewards[:, 0] - rewards[:, 1], config).mean()
    expected = their_loss(theirs, reference, beta=beta, loss_type=loss_type, smoothing=0.0)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-12, atol=1e-12)


def test_smoothing_mixes_the_loss_with_that_of_swapped_answers() -> None:
    """TRL 1.16 has the unbiased form: ((1 - e) l(m) - e l(-m)) / (1 - 2 e); ours is (1 - e) l(m) + e l(-m).

    With l(-m) = l(m) + m both are linear in l(m) and m: ours = l(m) + e m, theirs = l(m) - e m / (1 - 2 e).
    """
    logps = -30 * torch.rand(32, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    reference = torch.zeros(32, 2, dtype=torch.float64)
    margins = 0.1 * (logps[:, 0] - logps[:, 1])
    config: Any = load_config("objectives", "dpo").model_validate({"label_smoothing": 0.2})
    plain = their_loss(logps, reference, beta=0.1, loss_type="sigmoid", smoothing=0.0)
    robust = their_loss(logps, reference, beta=0.1, loss_type="robust", smoothing=0.2)
    ours = pair_losses(margins, config).mean()
    torch.testing.assert_close(ours, plain + 0.2 * margins.mean(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(robust, plain - 0.2 / 0.6 * margins.mean(), rtol=1e-12, atol=1e-12)


class Curve(TrainerCallback):
    """Keeps what TRL reports of each step."""

    def __init__(self) -> None:
        self.logs: list[dict[str, float]] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if "loss" in logs:
            self.logs.append({name: float(value) for name, value in logs.items()})


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], list[dict[str, float]]]:
    """Train one tiny Llama with one LoRA adapter both ways; a step sees all pairs, so no shuffling tells them apart."""
    pytest.importorskip("trl")
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    class OnIds(DPOTrainer):
        """TRL takes texts only; these rows are tokens already."""

        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset

    folder = tmp_path_factory.mktemp("trl")
    job = make_pair_job(
        folder / "ours",
        num_pairs=8,
        epochs=float(NUM_STEPS),
        batch_tokens=100_000,
        learning_rate=RATE,
        warmup_steps=0,
        weight_decay=0.0,
        options={"beta": BETA},
    )
    train_job(job)
    build_tiny("llama", folder / "tokenizer", **SMALL)
    curve = Curve()
    rows = []
    for pair in job.rows:
        start = int(pair.chosen.weights_T.argmax())
        chosen, rejected = (sequence.token_ids_T.tolist() for sequence in pair.sequences)
        rows.append({"prompt_ids": chosen[:start], "chosen_ids": chosen[start:], "rejected_ids": rejected[start:]})
    loaded = build_tuned(job).loaded  # our own first values in PEFT's layers
    loaded.config._attn_implementation = "sdpa"
    trainer = OnIds(
        model=loaded.adapter,
        processing_class=AutoTokenizer.from_pretrained(folder / "tokenizer"),
        train_dataset=Dataset.from_list(rows),
        args=DPOConfig(
            **list_trl_arguments(folder / "theirs", num_steps=NUM_STEPS, learning_rate=RATE), max_length=None, beta=BETA
        ),
        callbacks=[curve],
    )
    trainer.train()
    return list(read_metrics(folder / "ours" / "metrics.jsonl")), curve.logs


def test_the_curve_is_that_of_trl(runs: tuple[list[dict[str, Any]], list[dict[str, float]]]) -> None:
    """TRL reports few decimals; float32 sums in another order stay far below that."""
    ours, theirs = runs
    assert len(ours) == len(theirs) == NUM_STEPS
    for mine, their in zip(ours, theirs, strict=True):
        assert mine["loss"] == pytest.approx(their["loss"], abs=1e-3)
        assert mine["grad_norm"] == pytest.approx(their["grad_norm"], rel=1e-2)
        assert mine["reward_margin"] == pytest.approx(their["rewards/margins"], abs=2e-3)
        assert mine["reward_chosen"] == pytest.approx(their["rewards/chosen"], abs=2e-3)
    assert ours[0]["loss"] - ours[-1]["loss"] > 0.1, "the curve must go somewhere, or equality says nothing"
    assert ours[-1]["reward_accuracy"] == pytest.approx(theirs[-1]["rewards/accuracies"], abs=1e-6)
