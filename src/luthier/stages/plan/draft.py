"""From rendered rows to concrete numbers: pure arithmetic, so that it can be read and tested by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from luthier.foundation.schema.model import ModelShape
from luthier.foundation.schema.plan import Reason
from luthier.foundation.schema.plugins import MethodConfig
from luthier.foundation.schema.sections import PlanSection, TrainSection
from luthier.instruments.text.batches import StepRows, iterate_steps
from luthier.instruments.text.encode import EncodedRow
from luthier.instruments.text.prefixes import count_distinct_tokens
from luthier.stages.plan.examples import choose_num_examples
from luthier.stages.plan.hyperparameters import choose_batch_tokens, choose_learning_rate, count_every
from luthier.stages.plan.machine_speed import MachineSpeed
from luthier.stages.plan.packs import PackChoice, Room, choose_pack, prefer_pack_tokens
from luthier.stages.plan.throughput import LOADING_SECONDS, count_step_flops, estimate_seconds

SAMPLE_ROWS = 512
SAMPLE_STEPS = 64


@dataclass(frozen=True)
class Machine:
    """What the run may use.

    Attributes:
        speed: Measured matrix-product rates.
        room: Memory that may be used.
    """

    speed: MachineSpeed
    room: Room


@dataclass(frozen=True)
class Draft:
    """Every number of a run that does not name a blob.

    Attributes:
        chosen: Rows that are trained on, in order.
        numbers: Fields of ``PlanIdentity``.
        pack: How a step is computed, with its memory by parts.
        seconds: Estimated training time.
        num_tokens: Tokens of all steps, rows written out one by one.
        num_computed: The same with shared beginnings computed once a step.
    """

    chosen: tuple[EncodedRow, ...]
    numbers: dict[str, Any]
    pack: PackChoice
    seconds: float
    num_tokens: int
    num_computed: int
    num_trained: int
    reasons: tuple[Reason, ...]


def draft_run(
    rows: Sequence[EncodedRow],
    section: PlanSection,
    train: TrainSection,
    *,
    base: tuple[ModelShape, MethodConfig],
    machine: Machine,
    seed: int,
) -> Draft:
    """Fix the numbers of a run.

    Args:
        rows: Rendered training rows in the order in which a prefix is taken.
        section: What the run may take.
        train: What the recipe asks for; ``auto`` is decided here.
        base: The base's dimensions and the method's options.
        machine: Measured speed and memory limit.
        seed: Orders the rows of each epoch.

    Raises:
        PlanError: E-PLN-001 when nothing fits the memory, E-PLN-003 and E-PLN-006 when no row is left, and what the
            method's arithmetic refuses.
    """
    shape, method = base
    trainable = method.trainable_parameters(shape)
    precision, why_precision = _choose_precision(section, machine.speed)
    timer = _Timer(shape, machine.speed, precision=precision, is_full=trainable >= shape.num_parameters)
    chosen, why_number = _choose_rows(rows, section, train, timer)
    lengths = [len(row.token_ids_T) for row in chosen]
    batch_tokens, why_batch = choose_batch_tokens(train.batch_tokens, lengths, epochs=train.epochs)
    learning_rate, why_rate = choose_learning_rate(train.learning_rate, method, shape)
    steps = list(iterate_steps(lengths, batch_tokens=batch_tokens, epochs=train.epochs, seed=seed))[: train.max_steps]
    pack = choose_pack(
        shape,
        trainable=trainable,
        precision=precision,
        longest=max(lengths),
        preferred=prefer_pack_tokens([[chosen[i].token_ids_T for i in step.rows] for step in steps[:SAMPLE_STEPS]]),
        room=machine.room,
    )
    work = _count_work(chosen, steps)
    return Draft(
        chosen=chosen,
        numbers={
            "precision": precision,
            "num_examples": len(chosen),
            "batch_tokens": batch_tokens,
            "pack_tokens": pack.pack_tokens,
            "learning_rate": learning_rate,
            "gradient_checkpointing": pack.recomputes,
            **_schedule(train, len(steps)),
        },
        pack=pack,
        seconds=LOADING_SECONDS
        + timer.estimate(work, mean_length=sum(lengths) / len(lengths), recomputes=pack.recomputes),
        num_tokens=work.num_tokens,
        num_computed=work.num_computed,
        num_trained=work.num_trained,
        reasons=(why_precision, why_number, why_batch, why_rate, pack.reason),
    )


def _choose_rows(
    rows: Sequence[EncodedRow], section: PlanSection, train: TrainSection, timer: _Timer
) -> tuple[tuple[EncodedRow, ...], Reason]:
    seconds_a_row = timer.estimate_a_row(rows[:SAMPLE_ROWS], train) if rows else 0.0
    number, why = choose_num_examples(
        section, available=len(rows), seconds_an_epoch_row=seconds_a_row, epochs=train.epochs
    )
    return tuple(rows[:number]), why


def _schedule(train: TrainSection, num_steps: int) -> dict[str, Any]:
    return {
        "epochs": train.epochs,
        "num_steps": num_steps,
        "warmup_steps": math.ceil(train.warmup_ratio * num_steps),
        "checkpoint_every": count_every(num_steps, train.checkpoints),
        "evaluate_every": count_every(num_steps, train.evaluations),
    }


@dataclass(frozen=True)
class _Work:
    num_tokens: int
    num_computed: int
    num_trained: int


def _count_work(rows: Sequence[EncodedRow], steps: Sequence[StepRows]) -> _Work:
    return _Work(
        num_tokens=sum(step.num_tokens for step in steps),
        num_computed=sum(count_distinct_tokens([rows[i].token_ids_T for i in step.rows]) for step in steps),
        num_trained=sum(rows[i].num_trained for step in steps for i in step.rows),
    )


@dataclass(frozen=True)
class _Timer:
    """Seconds of work on this machine."""

    shape: ModelShape
    speed: MachineSpeed
    precision: str
    is_full: bool

    def estimate(self, work: _Work, *, mean_length: float, recomputes: bool = False) -> float:
        flops = count_step_flops(
            self.shape,
            num_tokens=work.num_computed,
            num_trained_tokens=work.num_trained,
            mean_length=mean_length,
            trains_all_weights=self.is_full,
            recomputes=recomputes,
        )
        return estimate_seconds(flops, gigaflops=self.speed.rate(self.precision), precision=self.precision)

    def estimate_a_row(self, rows: Sequence[EncodedRow], train: TrainSection) -> float:
        """Estimate the seconds that one row takes once, from a sample cut into steps as the run would be."""
        lengths = [len(row.token_ids_T) for row in rows]
        batch_tokens, _ = choose_batch_tokens(train.batch_tokens, lengths, epochs=max(train.epochs, 3))
        steps = list(iterate_steps(lengths, batch_tokens=batch_tokens, epochs=1, seed=0))
        return self.estimate(_count_work(rows, steps), mean_length=sum(lengths) / len(lengths)) / len(rows)


def _choose_precision(section: PlanSection, speed: MachineSpeed) -> tuple[str, Reason]:
    measured = f"measured {speed.fp32_gflops:.0f} GFLOP/s in fp32, {speed.bf16_gflops:.0f} in bf16"
    if section.precision != "auto":
        reason = Reason(field="plan.precision", value=section.precision, reason=f"as the recipe says; {measured}")
        return section.precision, reason
    return speed.best, Reason(field="plan.precision", value=speed.best, reason=measured)
