"""From rendered rows to concrete numbers: pure arithmetic, so that it can be read and tested by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.foundation.schema.model import ModelShape
from luthier.foundation.schema.plan import Reason
from luthier.foundation.schema.plugins import MethodConfig, ObjectiveConfig
from luthier.foundation.schema.sections import PlanSection, TrainSection
from luthier.instruments.text.batches import StepRows, iterate_steps
from luthier.instruments.text.pairs import Example
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
class Cell:
    """What is tuned and how: all that carries arithmetic of its own.

    Attributes:
        shape: The base's dimensions.
        method: Which weights move.
        objective: What the loss is.
    """

    shape: ModelShape
    method: MethodConfig
    objective: ObjectiveConfig


@dataclass(frozen=True)
class Draft:
    """Every number of a run that does not name a blob.

    Attributes:
        chosen: Examples that are trained on, in order.
        numbers: Fields of ``PlanIdentity``.
        pack: How a step is computed, with its memory by parts.
        seconds: Estimated training time.
        num_tokens: Tokens of all steps, rows written out one by one.
        num_computed: The same with shared beginnings computed once a step.
    """

    chosen: tuple[Example, ...]
    numbers: dict[str, Any]
    pack: PackChoice
    seconds: float
    num_tokens: int
    num_computed: int
    num_trained: int
    reasons: tuple[Reason, ...]


def draft_run(
    rows: Sequence[Example],
    section: PlanSection,
    train: TrainSection,
    *,
    cell: Cell,
    machine: Machine,
    seed: int,
) -> Draft:
    """Fix the numbers of a run.

    Args:
        rows: Rendered training examples in the order in which a prefix is taken.
        section: What the run may take.
        train: What the recipe asks for; ``auto`` is decided here.
        cell: The base's dimensions, the method's and the objective's options.
        machine: Measured speed and memory limit.
        seed: Orders the rows of each epoch.

    Raises:
        PlanError: E-PLN-001 when nothing fits the memory, E-PLN-003 and E-PLN-006 when no row is left, and what the
            method's arithmetic refuses.
    """
    shape, method, objective = cell.shape, cell.method, cell.objective
    trainable = method.trainable_parameters(shape)
    precision, why_precision = _choose_precision(section, machine.speed)
    timer = _Timer(cell, machine.speed, precision=precision, is_full=trainable >= shape.num_parameters)
    chosen, why_number = _choose_rows(rows, section, train, timer)
    lengths = [example.num_tokens for example in chosen]
    apart = [count_distinct_tokens([s.token_ids_T for s in example.sequences]) for example in chosen]
    batch_tokens, why_batch = choose_batch_tokens(train.batch_tokens, lengths, epochs=train.epochs)
    learning_rate, why_rate = choose_learning_rate(train.learning_rate, method, shape, factor=objective.RATE_FACTOR)
    steps = list(iterate_steps(lengths, batch_tokens=batch_tokens, epochs=train.epochs, seed=seed))[: train.max_steps]
    pack = choose_pack(
        shape,
        trainable=trainable,
        precision=precision,
        lengths=apart,
        preferred=_prefer_pack(chosen, apart, steps[:SAMPLE_STEPS], precision=precision),
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
        seconds=LOADING_SECONDS + timer.estimate(work, mean_length=_mean_length(chosen), recomputes=pack.recomputes),
        num_tokens=work.num_tokens,
        num_computed=work.num_computed,
        num_trained=work.num_trained,
        reasons=(why_precision, why_number, why_batch, why_rate, pack.reason),
    )


def _prefer_pack(chosen: Sequence[Example], apart: Sequence[int], steps: Sequence[StepRows], *, precision: str) -> int:
    num_apart = sum(apart[index] for step in steps for index in step.rows)
    is_paired = len(chosen[0].sequences) > 1
    sequences = [_list_sequences(chosen, step) for step in steps]
    return prefer_pack_tokens(sequences, num_apart=num_apart, is_paired=is_paired, precision=precision)


def _choose_rows(
    rows: Sequence[Example], section: PlanSection, train: TrainSection, timer: _Timer
) -> tuple[tuple[Example, ...], Reason]:
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


def _list_sequences(rows: Sequence[Example], step: StepRows) -> list[NDArray[np.int32]]:
    return [sequence.token_ids_T for i in step.rows for sequence in rows[i].sequences]


def _mean_length(rows: Sequence[Example]) -> float:
    """Return the mean length of a sequence, which attention runs over."""
    lengths = [sequence.num_tokens for row in rows for sequence in row.sequences]
    return sum(lengths) / len(lengths)


def _count_work(rows: Sequence[Example], steps: Sequence[StepRows]) -> _Work:
    return _Work(
        num_tokens=sum(step.num_tokens for step in steps),
        num_computed=sum(count_distinct_tokens(_list_sequences(rows, step)) for step in steps),
        num_trained=sum(rows[i].num_trained for step in steps for i in step.rows),
    )


@dataclass(frozen=True)
class _Timer:
    """Seconds of work on this machine."""

    cell: Cell
    speed: MachineSpeed
    precision: str
    is_full: bool

    def estimate(self, work: _Work, *, mean_length: float, recomputes: bool = False) -> float:
        flops = count_step_flops(
            self.cell.shape,
            num_tokens=work.num_computed,
            num_trained_tokens=work.num_trained,
            mean_length=mean_length,
            trains_all_weights=self.is_full,
            more_forwards=recomputes + self.cell.objective.NEEDS_REFERENCE,
        )
        return estimate_seconds(flops, gigaflops=self.speed.rate(self.precision), precision=self.precision)

    def estimate_a_row(self, rows: Sequence[Example], train: TrainSection) -> float:
        """Estimate the seconds that one row takes once, from a sample cut into steps as the run would be."""
        lengths = [row.num_tokens for row in rows]
        batch_tokens, _ = choose_batch_tokens(train.batch_tokens, lengths, epochs=max(train.epochs, 3))
        steps = list(iterate_steps(lengths, batch_tokens=batch_tokens, epochs=1, seed=0))
        return self.estimate(_count_work(rows, steps), mean_length=_mean_length(rows)) / len(rows)


def _choose_precision(section: PlanSection, speed: MachineSpeed) -> tuple[str, Reason]:
    measured = f"measured {speed.fp32_gflops:.0f} GFLOP/s in fp32, {speed.bf16_gflops:.0f} in bf16"
    if section.precision != "auto":
        reason = Reason(field="plan.precision", value=section.precision, reason=f"as the recipe says; {measured}")
        return section.precision, reason
    return speed.best, Reason(field="plan.precision", value=speed.best, reason=measured)
