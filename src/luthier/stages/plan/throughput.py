"""How long a run will take, from the work it does and the speed this machine was measured to have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from luthier.foundation.schema.model import ModelShape
from luthier.instruments.text.batches import StepRows
from luthier.instruments.text.pairs import Example
from luthier.instruments.text.prefixes import count_distinct_tokens
from luthier.stages.plan.machine_speed import Arithmetic

# Shares of the measured matrix-product speed that a pass reaches, and what comes on top of products; all measured on
# two cores, over the six runs of benchmarks/plan and five real ones (benchmarks/HISTORY.md, "plan").
ADAPTER_EFFICIENCY: Final = {"fp32": 0.53, "bf16": 0.42}
KERNELS_GAIN: Final = 1.1  # adapters in bf16 where the engine's own kernels are; full tuning shows none
FULL_EFFICIENCY: Final = {"fp32": 0.64, "bf16": 0.56}  # weight gradients are large products
SEQUENCE_SECONDS: Final = 1.0e-3  # a sequence and block: attention is computed segment by segment
SHARED_TOKEN_SECONDS: Final = 5.6e-6  # a token and block: a segment reads the keys of what it shares
FORWARD_SHARE: Final = 1 / 3  # of both, where nothing is differentiated

LOADING_SECONDS: Final = 0.5  # opening records and rendering, whatever the size
LOADING_SECONDS_A_PARAMETER: Final = 1e-8
SAVED_BYTES_A_PARAMETER: Final = 12  # the weight and AdamW's two moments in fp32
SAVED_BYTES_PER_SECOND: Final = 5e8

FORWARD: Final = 2.0  # multiply-adds: two floating-point operations a parameter and token
INPUT_GRADIENT: Final = 2.0
WEIGHT_GRADIENT: Final = 2.0


@dataclass(frozen=True)
class Work:
    """What a run, or a pass over some rows, computes.

    Attributes:
        num_tokens: Tokens with every sequence written out.
        num_computed: The same with shared beginnings computed once a step.
        num_trained: Positions that are asked for a token; the head runs once where several sequences ask one.
        num_sequences: Sequences.
    """

    num_tokens: int
    num_computed: int
    num_trained: int
    num_sequences: int

    @property
    def mean_length(self) -> float:
        """Mean tokens of a sequence, which attention runs over."""
        return self.num_tokens / max(self.num_sequences, 1)


def count_work(rows: Sequence[Example], steps: Iterable[StepRows]) -> Work:
    """Count the work of some optimizer steps."""
    chosen = [[rows[index] for index in step.rows] for step in steps]
    sequences = [list_sequences(step) for step in chosen]
    return Work(
        num_tokens=sum(len(ids) for step in sequences for ids in step),
        num_computed=sum(map(count_distinct_tokens, sequences)),
        num_trained=sum(row.num_trained for step in chosen for row in step),
        num_sequences=sum(map(len, sequences)),
    )


def count_pass(rows: Sequence[Example]) -> Work:
    """Count the work of one pass over all of some rows."""
    everything = StepRows(0, tuple(range(len(rows))), sum(row.num_tokens for row in rows))
    return count_work(rows, [everything] if rows else [])


def list_sequences(rows: Iterable[Example]) -> list[NDArray[np.int32]]:
    """Return the token ids of every sequence of some examples."""
    return [sequence.token_ids_T for row in rows for sequence in row.sequences]


def count_flops(
    shape: ModelShape, work: Work, *, is_differentiated: bool, trains_all_weights: bool = False, more_forwards: int = 0
) -> float:
    """Count the floating-point operations of forward and backward passes.

    Args:
        shape: The base's dimensions.
        work: Tokens, and positions that are asked for one.
        is_differentiated: Whether a backward pass follows.
        trains_all_weights: Whether weights get gradients (full) or only their inputs (adapters).
        more_forwards: Times the blocks are computed beyond one forward and one backward pass: again in the backward
            pass where they are recomputed, and under the base where the objective compares with it.

    Source:
        6 N operations a token for full training, 4 N without weight gradients, 2 N forward (Kaplan et al. 2020,
        arXiv:2001.08361, section 2.1, and its split into forward and backward).
    """
    embedding = shape.vocabulary * shape.width
    body = float(shape.num_parameters - embedding * (1 if shape.is_tied else 2))
    if shape.num_experts:
        body *= max(shape.experts_per_token, 1) / shape.num_experts
    backward = (INPUT_GRADIENT + WEIGHT_GRADIENT * trains_all_weights) * is_differentiated
    passes = FORWARD + backward + FORWARD * more_forwards
    attention = 2.0 * shape.num_layers * work.mean_length * shape.num_heads * shape.head_width * passes / 2.0
    num_heads = min(work.num_trained, work.num_computed)
    return work.num_computed * (body * passes + attention) + num_heads * embedding * (FORWARD + backward)


def estimate_seconds(flops: float, *, gigaflops: float, efficiency: float) -> float:
    """Estimate the time of so many operations at a measured matrix-product speed.

    Args:
        flops: Floating-point operations.
        gigaflops: Measured speed, in 1e9 operations a second.
        efficiency: Share of that speed that is reached.

    Units:
        Seconds.
    """
    return flops / (gigaflops * 1e9 * efficiency)


@dataclass(frozen=True)
class Timer:
    """Seconds of a run's parts on this machine.

    Attributes:
        shape: The base's dimensions.
        trainable: Parameters that get gradients.
        arithmetic: How the run computes.
        num_references: Times the base itself is computed beside what is trained, for objectives that compare.
    """

    shape: ModelShape
    trainable: int
    arithmetic: Arithmetic
    num_references: int = 0

    @property
    def adapter_efficiency(self) -> float:
        """Share of the product speed that adapters reach, and passes that only score."""
        gain = KERNELS_GAIN if self.arithmetic.uses_kernels else 1.0
        return ADAPTER_EFFICIENCY[self.arithmetic.precision] * gain

    def train(self, work: Work, *, recomputes: bool = False) -> float:
        """Return the seconds of the optimizer steps that do this work."""
        is_full = self.trainable >= self.shape.num_parameters
        efficiency = FULL_EFFICIENCY[self.arithmetic.precision] if is_full else self.adapter_efficiency
        flops = count_flops(
            self.shape,
            work,
            is_differentiated=True,
            trains_all_weights=is_full,
            more_forwards=recomputes + self.num_references,
        )
        return estimate_seconds(flops, gigaflops=self.arithmetic.gigaflops, efficiency=efficiency) + self._attend(work)

    def score(self, work: Work, *, num_references: int = 0) -> float:
        """Return the seconds of one pass that only scores."""
        flops = count_flops(self.shape, work, is_differentiated=False, more_forwards=num_references)
        seconds = estimate_seconds(flops, gigaflops=self.arithmetic.gigaflops, efficiency=self.adapter_efficiency)
        return seconds + FORWARD_SHARE * self._attend(work)

    def load(self) -> float:
        """Return the seconds until the first step."""
        return LOADING_SECONDS + LOADING_SECONDS_A_PARAMETER * self.shape.num_parameters

    def save(self, num_saves: int) -> float:
        """Return the seconds of writing so many checkpoints."""
        return num_saves * SAVED_BYTES_A_PARAMETER * self.trainable / SAVED_BYTES_PER_SECOND

    def _attend(self, work: Work) -> float:
        num_shared = work.num_tokens - work.num_computed
        return self.shape.num_layers * (SEQUENCE_SECONDS * work.num_sequences + SHARED_TOKEN_SECONDS * num_shared)
