"""From rendered rows to concrete numbers: pure arithmetic, so that it can be read and tested by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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
from luthier.stages.plan.throughput import Timer, count_pass, count_work, list_sequences

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
class Scored:
    """What a run scores beside its training rows, which takes time.

    Attributes:
        validation: A sample of the validation examples.
        num_validation: How many there are; 0 where the run does not validate.
        probes: What certifies parity, scored once at the end.
    """

    validation: tuple[Example, ...] = ()
    num_validation: int = 0
    probes: tuple[Example, ...] = ()


@dataclass(frozen=True)
class Examples:
    """The rendered rows of a run.

    Attributes:
        training: What may be trained on, in the order in which a prefix is taken.
        scored: What is scored beside them.
    """

    training: Sequence[Example]
    scored: Scored = Scored()


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
    examples: Examples,
    section: PlanSection,
    train: TrainSection,
    *,
    cell: Cell,
    machine: Machine,
    seed: int,
) -> Draft:
    """Fix the numbers of a run.

    Args:
        examples: Rendered rows.
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
    timer = Timer(shape, trainable, machine.speed.compute_in(precision), int(objective.NEEDS_REFERENCE))
    chosen, why_number = _choose_rows(examples.training, section, train, timer)
    lengths = [example.num_tokens for example in chosen]
    apart = [count_distinct_tokens([s.token_ids_T for s in example.sequences]) for example in chosen]
    batch_tokens, why_batch = choose_batch_tokens(train.batch_tokens, lengths, epochs=train.epochs)
    learning_rate, why_rate = choose_learning_rate(train.learning_rate, method, shape, factor=objective.RATE_FACTOR)
    steps = list(iterate_steps(lengths, batch_tokens=batch_tokens, epochs=train.epochs, seed=seed))[: train.max_steps]
    pack = choose_pack(
        shape,
        trainable=trainable,
        arithmetic=timer.arithmetic,
        lengths=apart,
        preferred=_prefer_pack(chosen, apart, steps[:SAMPLE_STEPS], precision=precision),
        room=machine.room,
    )
    work, schedule = count_work(chosen, steps), _schedule(train, len(steps))
    return Draft(
        chosen=chosen,
        numbers={
            "precision": precision,
            "num_examples": len(chosen),
            "batch_tokens": batch_tokens,
            "pack_tokens": pack.pack_tokens,
            "learning_rate": learning_rate,
            "gradient_checkpointing": pack.recomputes,
            **schedule,
        },
        pack=pack,
        seconds=timer.train(work, recomputes=pack.recomputes) + _estimate_rest(timer, examples.scored, schedule),
        num_tokens=work.num_tokens,
        num_computed=work.num_computed,
        num_trained=work.num_trained,
        reasons=(why_precision, why_number, why_batch, why_rate, pack.reason),
    )


def _prefer_pack(chosen: Sequence[Example], apart: Sequence[int], steps: Sequence[StepRows], *, precision: str) -> int:
    num_apart = sum(apart[index] for step in steps for index in step.rows)
    is_paired = len(chosen[0].sequences) > 1
    sequences = [list_sequences(chosen[index] for index in step.rows) for step in steps]
    return prefer_pack_tokens(sequences, num_apart=num_apart, is_paired=is_paired, precision=precision)


def _choose_rows(
    rows: Sequence[Example], section: PlanSection, train: TrainSection, timer: Timer
) -> tuple[tuple[Example, ...], Reason]:
    seconds_a_row = _estimate_a_row(timer, rows[:SAMPLE_ROWS], train) if rows else 0.0
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


def _estimate_a_row(timer: Timer, rows: Sequence[Example], train: TrainSection) -> float:
    """Estimate the seconds that one row takes once, from a sample cut into steps as the run would be."""
    lengths = [row.num_tokens for row in rows]
    batch_tokens, _ = choose_batch_tokens(train.batch_tokens, lengths, epochs=max(train.epochs, 3))
    steps = list(iterate_steps(lengths, batch_tokens=batch_tokens, epochs=1, seed=0))
    return timer.train(count_work(rows, steps)) / len(rows)


def _estimate_rest(timer: Timer, scored: Scored, schedule: dict[str, Any]) -> float:
    """Estimate the seconds of all but the optimizer steps: loading, validating, saving, scoring the probes."""
    num_steps = schedule["num_steps"]
    num_saves, num_validations = (
        math.ceil(num_steps / every) if every else 0
        for every in (schedule["checkpoint_every"], schedule["evaluate_every"])
    )
    sample = count_pass(scored.validation)
    share = scored.num_validation / max(len(scored.validation), 1)
    validating = num_validations * share * timer.score(sample, num_references=timer.num_references)
    return timer.load() + validating + timer.save(num_saves + 1) + timer.score(count_pass(scored.probes))


def _choose_precision(section: PlanSection, speed: MachineSpeed) -> tuple[str, Reason]:
    measured = f"measured {speed.fp32_gflops:.0f} GFLOP/s in fp32, {speed.bf16_gflops:.0f} in bf16"
    if section.precision != "auto":
        reason = Reason(field="plan.precision", value=section.precision, reason=f"as the recipe says; {measured}")
        return section.precision, reason
    return speed.best, Reason(field="plan.precision", value=speed.best, reason=measured)
