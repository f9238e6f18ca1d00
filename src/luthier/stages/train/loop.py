"""READ ME FIRST: how a model is trained. One loop; its steps are the functions below it, in order of use.

    draw examples ─▶ gradient of their summed loss over their weight ─▶ clip ─▶ AdamW ─▶ write it down

Three decisions carry the rest. A step is a set of whole examples (``instruments/text/batches.py``): packs only bound
memory, so the gradient is the same however examples are packed or dealt to ranks. Every step seeds its own random
stream by its number, so a checkpoint holds no random state and resuming repeats a run bit for bit. A loss is
looked at before its update is applied, so a number that is none never reaches the weights.

Shapes of names are in ``instruments/engine/segments.py``. Read next: ``checkpoint.py``, ``guard.py``.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import torch
from accelerate import Accelerator
from torch import nn

from luthier.foundation.core.errors import TrainError
from luthier.foundation.core.seeds import derive_seed
from luthier.foundation.schema.protocols import Context
from luthier.instruments.engine.allocation import FreedMemory
from luthier.instruments.engine.load import LoadedModel
from luthier.instruments.engine.precision import autocast
from luthier.instruments.text.batches import StepRows, iterate_steps
from luthier.instruments.text.pairs import Example
from luthier.stages.train.checkpoint import Checkpoints, Snapshot
from luthier.stages.train.guard import LossGuard
from luthier.stages.train.interrupt import Interrupts
from luthier.stages.train.job import Curve, Job, Method, SummedLoss, Tuned
from luthier.stages.train.metrics import METRICS_NAME, MetricsLog, find_last_step
from luthier.stages.train.optimizer import build_optimizer, collect_state, restore_state
from luthier.stages.train.schedule import learning_rate_at

CHECKPOINTS_NAME: Final = "checkpoints"


@dataclass
class LiveRun:
    """A run in memory: what stays (job, model, optimizer) and what moves from step to step.

    Attributes:
        parameters: What is trained, by name.
        steps: The examples of every step of the plan.
        step: Optimizer steps done.
        guard: Watches the loss.
        best_step: Step with the lowest validation loss; 0 before the first validation.
        best_loss: That loss.
        num_resumes: How often the run was taken up again.
        num_tokens: Tokens seen in this attempt.
        memory: Hands freed memory back where steps of many sizes have made it grow.
    """

    job: Job
    loaded: LoadedModel
    method: Method
    accelerator: Accelerator
    optimizer: torch.optim.Optimizer
    parameters: dict[str, nn.Parameter]
    checkpoints: Checkpoints
    steps: Sequence[StepRows]
    step: int = 0
    guard: LossGuard = field(default_factory=LossGuard)
    best_step: int = 0
    best_loss: float | None = None
    num_resumes: int = 0
    num_tokens: int = 0
    memory: FreedMemory = field(default_factory=FreedMemory)


def train(job: Job, tuned: Tuned, accelerator: Accelerator, *, ctx: Context, interrupts: Interrupts) -> Curve:
    """Run every step of the plan and leave the best weights in the model.

    Args:
        job: The plan, the rows, the loss.
        tuned: The base with its method built: parameters that require a gradient are trained.
        accelerator: This process's place among the ranks.
        ctx: Clock, progress and file system.
        interrupts: Signals, obeyed between two steps.

    Raises:
        TrainError: E-TRN-001 for a loss that is no number, E-TRN-002 for divergence, E-TRN-004 to E-TRN-006 for
            checkpoints that cannot be used, E-TRN-008 for a plan that counts other steps.
        Interrupted: E-TRN-003 after a signal; the state is saved.
        StoreError: E-ENV-003 when the disk is full; the checkpoint before is intact.
    """
    run = begin(job, tuned, accelerator, ctx)
    started = ctx.clock.monotonic()
    with (
        MetricsLog(
            job.folder / METRICS_NAME, after_step=run.step, fs=ctx.fs, is_kept=accelerator.is_main_process
        ) as metrics,
        ctx.progress.task("train", total=len(run.steps), unit="steps") as bar,
    ):
        bar.advance(run.step)
        while run.step < len(run.steps):
            step_started = ctx.clock.monotonic()
            rows = run.steps[run.step]
            learning_rate = set_learning_rate(run)

            seen = accumulate_gradient(run, [job.rows[index] for index in rows.rows])
            grad_norm = clip_gradient(run)
            check_loss(run, seen["loss"], grad_norm)
            apply_update(run)

            validated = validate_if_due(run)
            figures = {
                **seen,
                "learning_rate": learning_rate,
                "grad_norm": grad_norm,
                "num_tokens": rows.num_tokens,
                "tokens_per_second": rows.num_tokens / max(ctx.clock.monotonic() - step_started, 1e-9),
                **validated,
            }
            metrics.write(step=run.step, epoch=rows.epoch, **figures)
            save_if_due(run, is_asked=interrupts.received is not None)
            interrupts.raise_if_received(state=f"step {run.step} of {len(run.steps)} is saved")
            bar.advance(loss=seen["loss"], tokens_per_second=figures["tokens_per_second"] or 0.0)
    return finish(run, seconds=ctx.clock.monotonic() - started)


def begin(job: Job, tuned: Tuned, accelerator: Accelerator, ctx: Context) -> LiveRun:
    """Set a run up from its newest intact checkpoint, or from the beginning."""
    plan = job.plan
    parameters = {name: p for name, p in tuned.loaded.model.named_parameters() if p.requires_grad}
    lengths = [example.num_tokens for example in job.rows]
    every = iterate_steps(lengths, batch_tokens=plan.batch_tokens, epochs=plan.epochs, seed=plan.seed)
    steps = list(itertools.islice(every, plan.num_steps))
    if len(steps) < plan.num_steps:
        raise TrainError(
            "E-TRN-008",
            "the rows make fewer optimizer steps than the plan counts: they are not the rows that were planned",
            got=f"{len(steps)} steps of {len(lengths)} rows",
            allowed=f"{plan.num_steps} steps",
            fix="luthier run RECIPE --until plan",
        )
    optimizer = accelerator.prepare(build_optimizer(parameters, weight_decay=plan.weight_decay))
    checkpoints = Checkpoints(job.folder / CHECKPOINTS_NAME, run_key=job.run_key, fs=ctx.fs, say=ctx.progress.say)
    run = LiveRun(job, tuned.loaded, tuned.method, accelerator, optimizer, parameters, checkpoints, steps)
    snapshot = checkpoints.restore()
    if snapshot is not None:
        go_on_from(run, snapshot)
        repeated = max(0, find_last_step(job.folder / METRICS_NAME) - snapshot.step)
        ctx.progress.say(
            f"going on from the checkpoint of step {snapshot.step} of {len(steps)}; {repeated} steps are repeated"
        )
    run.loaded.model.train()
    return run


def go_on_from(run: LiveRun, snapshot: Snapshot) -> None:
    """Put a snapshot into the live run, whole or not at all."""
    run.method.load_state(run.loaded, snapshot.model)
    restore_state(run.optimizer, run.parameters, snapshot.optimizer)
    run.step = snapshot.step
    run.guard = LossGuard(**snapshot.cursor["guard"])
    run.best_step = snapshot.cursor["best_step"]
    run.best_loss = snapshot.cursor["best_loss"]
    run.num_resumes = snapshot.cursor["num_resumes"] + 1


def set_learning_rate(run: LiveRun) -> float:
    """Set the rate of the coming step and return it."""
    plan = run.job.plan
    rate = learning_rate_at(run.step, peak=plan.learning_rate, warmup_steps=plan.warmup_steps, num_steps=len(run.steps))
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    return rate


def accumulate_gradient(run: LiveRun, examples: Sequence[Example]) -> dict[str, float]:
    """Add up the gradient of one step over its packs and ranks, and return its ``loss`` and further figures.

    The loss of a step is the sum over all its examples, divided once by their weight (trained tokens, or pairs):
    every one counts the same, in whatever pack or rank it lies.

    Units:
        Nats per trained token or pair.
    """
    plan, accelerator = run.job.plan, run.accelerator
    rank, num_ranks = accelerator.process_index, accelerator.num_processes
    torch.manual_seed(derive_seed(plan.seed, "train", "step", run.step, rank))
    weight = run.job.objective.weigh(examples)
    batches = run.job.objective.pack(run.loaded, examples, pack_tokens=plan.pack_tokens)
    sums = start_sums(run)
    for batch in batches[rank::num_ranks]:
        found = compute_loss(run, batch)
        accelerator.backward(found.total / weight)
        add_to_sums(sums, found)
    sum_over_ranks(run)
    means = torch.tensor([total / weight for total in sums.values()], dtype=torch.float64, device=run.loaded.device)
    return dict(zip(sums, accelerator.reduce(means, reduction="sum").tolist(), strict=True))


def start_sums(run: LiveRun) -> dict[str, float]:
    """Name what a step or a validation adds up: the loss, and the objective's further figures."""
    return dict.fromkeys(("loss", *run.job.objective.figures), 0.0)


def add_to_sums(sums: dict[str, float], found: SummedLoss) -> None:
    """Add one batch."""
    sums["loss"] += float(found.total.detach())
    for name, total in found.figures.items():
        sums[name] += total


def compute_loss(run: LiveRun, batch: Any) -> SummedLoss:  # noqa: ANN401  the objective's own
    """Return the summed loss of one batch in the plan's precision."""
    job = run.job
    with autocast(job.plan.precision, run.loaded.device):
        return job.objective.loss(Tuned(run.loaded, run.method), batch, job.objective_config)


def sum_over_ranks(run: LiveRun) -> None:
    """Add the gradients of all ranks. A rank that got no pack of a small step adds nothing and still takes part."""
    if run.accelerator.num_processes == 1:
        return
    for parameter in run.parameters.values():
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        parameter.grad = run.accelerator.reduce(gradient, reduction="sum")


def clip_gradient(run: LiveRun) -> float:
    """Scale the gradient down to the plan's greatest norm and return the norm it had."""
    return float(run.accelerator.clip_grad_norm_(run.parameters.values(), run.job.plan.max_grad_norm))


def check_loss(run: LiveRun, loss: float, grad_norm: float) -> None:
    """Stop the run before an update that would ruin it; see ``guard.py`` for the rule."""
    saved = run.checkpoints.steps()
    run.guard.check(
        run.step + 1,
        loss=loss,
        grad_norm=grad_norm,
        learning_rate=run.job.plan.learning_rate,
        kept=f"the checkpoint of step {saved[0]} is kept" if saved else "no checkpoint had been made yet",
    )


def apply_update(run: LiveRun) -> None:
    """Take the optimizer's step, clear the gradient, keep memory where it was."""
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
    run.memory.settle()
    run.num_tokens += run.steps[run.step].num_tokens
    run.step += 1


def is_due(run: LiveRun, every: int) -> bool:
    """Say whether something that happens every so many steps, and after the last, happens now."""
    return every > 0 and (run.step % every == 0 or run.step == len(run.steps))


@torch.no_grad()
def validate_if_due(run: LiveRun) -> dict[str, float]:
    """Compute loss and figures on the validation examples where the plan asks for it, and note a new best.

    Units:
        Nats per trained token or pair.
    """
    plan, objective, examples = run.job.plan, run.job.objective, run.job.validation_rows
    if not examples or not is_due(run, plan.evaluate_every):
        return {}
    run.loaded.model.eval()
    sums = start_sums(run)
    for batch in objective.pack(run.loaded, examples, pack_tokens=plan.pack_tokens):
        add_to_sums(sums, compute_loss(run, batch))
    run.loaded.model.train()
    means = {f"validation_{name}": total / objective.weigh(examples) for name, total in sums.items()}
    loss = means["validation_loss"]
    if run.best_loss is None or loss < run.best_loss:
        run.best_step, run.best_loss = run.step, loss
    return means


def save_if_due(run: LiveRun, *, is_asked: bool) -> None:
    """Write a checkpoint where the plan asks for one, at a new best, at the end, and after a signal."""
    is_best = run.best_step == run.step
    if not (is_asked or is_best or is_due(run, run.job.plan.checkpoint_every)):
        return
    if run.accelerator.is_main_process:
        run.checkpoints.save(take_snapshot(run))
    run.accelerator.wait_for_everyone()


def take_snapshot(run: LiveRun) -> Snapshot:
    """Collect everything that the run needs to go on."""
    cursor: dict[str, Any] = {
        "guard": asdict(run.guard),
        "best_step": run.best_step,
        "best_loss": run.best_loss,
        "num_resumes": run.num_resumes,
    }
    return Snapshot(run.step, run.method.state(run.loaded), collect_state(run.optimizer, run.parameters), cursor)


def finish(run: LiveRun, *, seconds: float) -> Curve:
    """Leave the best weights in the model: of the lowest validation loss, or of the last step without any."""
    best_step = run.best_step or run.step
    if best_step != run.step:
        run.method.load_state(run.loaded, run.checkpoints.load(best_step).model)
    run.loaded.model.eval()
    return Curve(
        best_step=best_step,
        train_loss=run.guard.smoothed,
        validation_loss=run.best_loss,
        num_resumes=run.num_resumes,
        rate_tokens_per_second=run.num_tokens / max(seconds, 1e-9),
    )
