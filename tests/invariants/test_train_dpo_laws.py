"""Laws of preference training: the loss of a step is the mean over its pairs, whatever is packed and shared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn.functional import logsigmoid

from luthier.foundation.core.errors import Interrupted, ModelError
from luthier.foundation.registry import TABLES, load_config, load_runtime
from luthier.instruments.text.pairs import EncodedPair
from luthier.stages.train import loop
from luthier.stages.train.interrupt import Interrupts
from luthier.stages.train.loop import LiveRun, accumulate_gradient, begin
from luthier.stages.train.metrics import METRICS_NAME, read_metrics
from luthier.stages.train.objectives.dpo import objective as dpo
from tests.fixtures.pair_jobs import make_pair, make_pair_job, make_pairs, plain_logps
from tests.fixtures.train_jobs import FULL, FolderContext, build_tuned, train_job

TOLERANCE = 1e-5  # float32: sums of a few hundred products in another order
BETA = 0.3


def start(folder: Path, *, pack_tokens: int = 160, accelerator: Any = None, **options: Any) -> LiveRun:
    """Begin a run away from B = 0, so that model and base differ."""
    job = make_pair_job(folder, pack_tokens=pack_tokens, batch_tokens=10_000, options={"beta": BETA, **options})
    run = begin(job, build_tuned(job), Accelerator(), FolderContext(folder))
    if accelerator is not None:
        run.accelerator = accelerator
    with torch.no_grad():
        for parameter in run.parameters.values():
            parameter.add_(0.05 * torch.cos(torch.arange(parameter.numel()).reshape(parameter.shape)))
    return run


def gradient_of(run: LiveRun) -> Tensor:
    return torch.cat([parameter.grad.flatten() for _, parameter in sorted(run.parameters.items())])


def step(run: LiveRun, pairs: tuple[EncodedPair, ...]) -> tuple[dict[str, float], Tensor]:
    figures = accumulate_gradient(run, pairs)
    return figures, gradient_of(run)


def plain_step(run: LiveRun, pairs: tuple[EncodedPair, ...]) -> tuple[dict[str, float], Tensor]:
    """Each sequence alone through transformers' own forward, torch's own autograd, the paper's formula."""
    losses, margins, chosen = [], [], []
    for pair in pairs:
        with torch.no_grad(), run.method.disabled(run.loaded):
            reference = plain_logps(run.loaded, pair)
        reward = BETA * (plain_logps(run.loaded, pair) - reference)
        losses.append(-logsigmoid(reward[0] - reward[1]))
        margins.append(float((reward[0] - reward[1]).detach()))
        chosen.append(float(reward[0].detach()))
    loss = torch.stack(losses).mean()
    loss.backward()
    figures = {
        "loss": float(loss.detach()),
        "reward_accuracy": sum(margin > 0 for margin in margins) / len(margins),
        "reward_margin": sum(margins) / len(margins),
        "reward_chosen": sum(chosen) / len(chosen),
    }
    return figures, gradient_of(run)


def relative(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm())


@pytest.mark.parametrize("pack_tokens", [1, 90, 160, 10_000])
def test_a_step_equals_every_sequence_written_out_alone(tmp_path: Path, pack_tokens: int) -> None:
    """From one pair a pack to all pairs in one pack that computes system prompt and shared prompts once."""
    pairs = make_pairs(9, seed=5)
    figures, gradient = step(start(tmp_path, pack_tokens=pack_tokens), pairs)
    expected, expected_gradient = plain_step(start(tmp_path), pairs)
    assert figures == pytest.approx(expected, rel=1e-4)
    assert relative(gradient, expected_gradient) < TOLERANCE
    assert expected["loss"] > 0.5, "the model must differ from its base, or equality says little"


def test_pairs_share_their_prompts_and_what_prompts_share(tmp_path: Path) -> None:
    run, pairs = start(tmp_path), make_pairs(9, seed=5)
    (batch,) = run.job.objective.pack(run.loaded, pairs, pack_tokens=10_000)
    (pack,) = batch.packs
    written = sum(pair.num_tokens for pair in pairs)
    prompts_once = {pair.chosen.token_ids_T[: pair.chosen.weights_T.argmax()].tobytes(): pair for pair in pairs}
    assert len(prompts_once) == 7
    assert pack.forest.num_tokens < 0.6 * written
    assert pack.forest.depth == 3


def test_a_pack_holds_whole_pairs_within_its_bound(tmp_path: Path) -> None:
    run, pairs = start(tmp_path), make_pairs(16, seed=6)
    longest = max(pair.num_tokens for pair in pairs)
    batches = run.job.objective.pack(run.loaded, pairs, pack_tokens=200)
    assert sum(batch.num_pairs for batch in batches) == 16
    assert all(pack.num_rows == 2 * batch.num_pairs for batch in batches for pack in batch.packs)
    assert all(pack.forest.num_tokens <= max(200, longest) for batch in batches for pack in batch.packs)
    assert len(batches) > 2


def test_an_architecture_that_runs_rows_alone_gives_the_same_step(tmp_path: Path) -> None:
    run, pairs = start(tmp_path), make_pairs(6, seed=5)
    run.loaded.can_pack = False
    run.loaded.config._attn_implementation = "sdpa"
    batches = run.job.objective.pack(run.loaded, pairs, pack_tokens=160)
    assert [(batch.num_pairs, len(batch.packs)) for batch in batches] == [(1, 2)] * 6
    figures, gradient = step(run, pairs)
    expected, expected_gradient = step(start(tmp_path), pairs)
    assert figures == pytest.approx(expected, rel=1e-4)
    assert relative(gradient, expected_gradient) < TOLERANCE


def test_recomputed_blocks_give_the_same_step_with_the_adapter_on(tmp_path: Path) -> None:
    """Blocks are computed again in the backward pass, long after the base was looked at."""
    run, pairs = start(tmp_path), make_pairs(6, seed=5)
    run.loaded.checkpoint_layers(enabled=True)
    _, gradient = step(run, pairs)
    _, expected = step(start(tmp_path), pairs)
    assert relative(gradient, expected) < TOLERANCE


def test_the_order_of_pairs_changes_nothing(tmp_path: Path) -> None:
    pairs = make_pairs(9, seed=5)
    _, gradient = step(start(tmp_path), pairs[::-1])
    _, expected = step(start(tmp_path), pairs)
    assert relative(gradient, expected) < TOLERANCE


@pytest.mark.parametrize("num_ranks", [2, 16])
def test_the_gradients_of_all_ranks_add_up_to_that_of_one(tmp_path: Path, num_ranks: int) -> None:
    """With 16 ranks some get no pair at all and still report every figure."""
    pairs = make_pairs(9, seed=5)
    parts = []
    for rank in range(num_ranks):
        run = start(tmp_path, accelerator=OneOfMany(rank, num_ranks))
        figures = accumulate_gradient(run, pairs)
        parts.append((figures, torch.cat([_grad(p) for _, p in sorted(run.parameters.items())])))
    expected, expected_gradient = step(start(tmp_path), pairs)
    assert relative(sum(part[1] for part in parts), expected_gradient) < TOLERANCE
    for name, value in expected.items():
        assert sum(part[0][name] for part in parts) == pytest.approx(value, rel=1e-4)


class OneOfMany:
    """A rank among several, alone in its process: sums over ranks are left to the test."""

    def __init__(self, process_index: int, num_processes: int) -> None:
        self.process_index, self.num_processes, self.is_main_process = process_index, num_processes, True

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def reduce(self, tensor: Tensor, reduction: str) -> Tensor:
        assert reduction == "sum"
        return tensor


def _grad(parameter: Any) -> Tensor:
    return torch.zeros(parameter.numel()) if parameter.grad is None else parameter.grad.flatten()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_model_that_is_its_base_has_the_loss_of_a_coin(tmp_path: Path, precision: str) -> None:
    """The loss is ln 2, the margin 0, every pair a tie; and yet a gradient, that of beta times half the difference."""
    job = make_pair_job(tmp_path, precision=precision)
    run = begin(job, build_tuned(job), Accelerator(), FolderContext(tmp_path))
    figures, gradient = step(run, make_pairs(4))
    assert figures["loss"] == pytest.approx(0.6931471805599453, abs=1e-9)
    assert (figures["reward_accuracy"], figures["reward_margin"], figures["reward_chosen"]) == (0.5, 0.0, 0.0)
    assert float(gradient.norm()) > 0


def test_a_step_in_bf16_is_that_in_fp32_to_bf16s_precision(tmp_path: Path) -> None:
    """Eight bits of mantissa: rewards of a few nats to a few hundredths, gradients to a few hundredths."""
    pairs = make_pairs(9, seed=5)
    expected, gradient = step(start(tmp_path), pairs)
    run = start(tmp_path)
    run.job = replace(run.job, plan=run.job.plan.model_copy(update={"precision": "bf16"}))
    figures, rough = step(run, pairs)
    assert figures["loss"] == pytest.approx(expected["loss"], abs=0.05)
    assert figures["reward_margin"] == pytest.approx(expected["reward_margin"], abs=0.1)
    assert relative(rough, gradient) < 0.1


def test_the_loss_falls_and_the_margin_grows(tmp_path: Path) -> None:
    job = make_pair_job(tmp_path, num_validation=4, epochs=15.0, evaluate_every=5, options={"beta": BETA})
    trained = train_job(job)
    curve = list(read_metrics(tmp_path / METRICS_NAME))
    assert curve[-1]["loss"] < 0.3 * curve[0]["loss"]
    assert curve[-1]["reward_margin"] > 1.0
    assert curve[-1]["reward_accuracy"] == 1.0
    validated = [line for line in curve if "validation_loss" in line]
    assert validated
    assert {"validation_reward_accuracy", "validation_reward_margin", "validation_reward_chosen"} <= validated[0].keys()
    assert trained.curve.validation_loss == min(line["validation_loss"] for line in validated)


def test_the_base_drops_nothing_while_the_model_does(tmp_path: Path) -> None:
    """With LoRA dropout on, two looks at the base in training mode are the same to the bit."""
    job = make_pair_job(tmp_path, method={"type": "lora", "rank": 4, "dropout": 0.5})
    run = begin(job, build_tuned(job), Accelerator(), FolderContext(tmp_path))
    (batch, *_) = run.job.objective.pack(run.loaded, make_pairs(3), pack_tokens=10_000)
    with torch.no_grad():
        with run.method.disabled(run.loaded):
            first, second = (dpo.sum_logps(run.loaded, batch, is_training=False) for _ in range(2))
        for parameter in run.parameters.values():
            parameter.add_(0.1)
        noisy = [dpo.sum_logps(run.loaded, batch, is_training=True) for _ in range(2)]
    assert torch.equal(first, second)
    assert not torch.equal(*noisy)
    assert run.loaded.model.training


def test_resuming_after_any_step_ends_with_the_same_weights_and_curve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, Any] = {
        "num_validation": 3,
        "evaluate_every": 2,
        "checkpoint_every": 1000,
        "method": {"type": "lora", "rank": 4, "dropout": 0.1},
    }
    whole = train_job(make_pair_job(tmp_path / "whole", **changes))
    num_steps = make_pair_job(tmp_path, **changes).plan.num_steps
    assert num_steps >= 4
    for last in range(1, num_steps):
        job = make_pair_job(tmp_path / str(last), **changes)
        stop_after(monkeypatch, job, last)
        resumed = train_job(job)
        assert resumed.weights_sha256 == whole.weights_sha256, f"after step {last}"
        assert curve_of(job.folder) == curve_of(tmp_path / "whole"), f"after step {last}"


def stop_after(monkeypatch: pytest.MonkeyPatch, job: Any, last: int) -> None:
    interrupts = Interrupts()
    update = loop.apply_update

    def signalled(run: LiveRun) -> None:
        update(run)
        if run.step == last:
            interrupts.received = 15

    with monkeypatch.context() as patch:
        patch.setattr(loop, "apply_update", signalled)
        with pytest.raises(Interrupted):
            train_job(job, interrupts=interrupts)


def curve_of(folder: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k != "tokens_per_second"} for line in read_metrics(folder / METRICS_NAME)]


# What would be wrong is seen.


def reference_with_gradient(run: LiveRun, monkeypatch: pytest.MonkeyPatch) -> tuple[EncodedPair, ...]:
    """The mistake: the reference is the model itself, so that it moves along."""
    monkeypatch.setattr(run.method, "disabled", lambda _: nullcontext())
    monkeypatch.setattr(dpo.torch, "no_grad", nullcontext)
    return make_pairs(9, seed=5)


def answers_swapped(_: LiveRun, __: pytest.MonkeyPatch) -> tuple[EncodedPair, ...]:
    """The mistake: the rejected answer is preferred."""
    return tuple(replace(p, chosen=p.rejected, rejected=p.chosen) for p in make_pairs(9, seed=5))


def prompt_counted(_: LiveRun, __: pytest.MonkeyPatch) -> tuple[EncodedPair, ...]:
    """The mistake: a prompt's last token is trained, so that it counts for one of the answers."""
    pairs = []
    for pair in make_pairs(9, seed=5):
        weights_T = pair.chosen.weights_T.copy()
        weights_T[weights_T.argmax() - 1] = 1.0
        pairs.append(replace(pair, chosen=replace(pair.chosen, weights_T=weights_T)))
    return tuple(pairs)


def reference_left_out(run: LiveRun, monkeypatch: pytest.MonkeyPatch) -> tuple[EncodedPair, ...]:
    """The mistake: the adapter stays on while the base is looked at."""

    @contextmanager
    def forgotten(_: Any) -> Iterator[None]:
        yield

    monkeypatch.setattr(run.method, "disabled", forgotten)
    return make_pairs(9, seed=5)


def targets_merged(run: LiveRun, monkeypatch: pytest.MonkeyPatch) -> tuple[EncodedPair, ...]:
    """The mistake: what both answers begin with is one target with the sum of weights, owned by the first row."""
    pack = type(run.loaded).pack
    monkeypatch.setattr(
        type(run.loaded), "pack", lambda self, rows, **options: pack(self, rows, **(options | {"merge_targets": True}))
    )
    return make_pairs(9, seed=5)


@pytest.mark.parametrize(
    "mistake", [reference_with_gradient, answers_swapped, prompt_counted, reference_left_out, targets_merged]
)
def test_the_law_sees_the_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistake: Callable[..., tuple[EncodedPair, ...]]
) -> None:
    expected, gradient = plain_step(start(tmp_path), make_pairs(9, seed=5))
    run = start(tmp_path)
    pairs = mistake(run, monkeypatch)
    figures = accumulate_gradient(run, pairs)
    wrong = torch.cat([_grad(p) for _, p in sorted(run.parameters.items())])
    assert figures["loss"] != pytest.approx(expected["loss"], rel=1e-3)
    assert relative(wrong, gradient) > 100 * TOLERANCE


# Methods and objectives.


@pytest.mark.parametrize("name", TABLES["methods"].rows)
def test_a_methods_config_says_whether_its_runtime_can_give_the_base_back(name: str) -> None:
    assert load_config("methods", name).KEEPS_BASE is load_runtime("methods", name).can_disable  # type: ignore[attr-defined]


def test_a_plan_that_pairs_dpo_with_full_is_refused_at_its_first_step(tmp_path: Path) -> None:
    """Recipes are refused before (``test_recipe_cells.py``); a plan made by hand gets the method's own error."""
    with pytest.raises(ModelError, match="E-ENG-010"):
        train_job(make_pair_job(tmp_path, method=FULL))


def test_a_pair_of_one_token_answers_is_computed_by_hand(tmp_path: Path) -> None:
    """Answers of one token: the margin is beta times the difference of two logits' gains; the rest cancels."""
    run = start(tmp_path)
    pair = make_pair([5, 6, 7, 8], [9], [10])
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad(), run.loaded.plain_attention():
        own = run.loaded.model(input_ids=ids, use_cache=False).logits[0, -1].double()
        with run.method.disabled(run.loaded):
            base = run.loaded.model(input_ids=ids, use_cache=False).logits[0, -1].double()
    margin = BETA * float((own[9] - own[10]) - (base[9] - base[10]))
    figures = accumulate_gradient(run, (pair,))
    assert figures["reward_margin"] == pytest.approx(margin, abs=1e-5)
    assert figures["loss"] == pytest.approx(-float(logsigmoid(torch.tensor(margin, dtype=torch.float64))), abs=1e-6)
