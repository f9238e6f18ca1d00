"""Plan: every number of the run, concrete, before anything is loaded."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from luthier.foundation.core.hashing import Digest
from luthier.foundation.schema.noun import Identity, Noun, Record, Witness


class PlanIdentity(Identity):
    """What will be done.

    Attributes:
        num_examples: Rows of the training split that are used, a prefix of the ranking where there is one.
        examples: Blob of the ids of those rows, in order.
        batch_tokens: Tokens an optimizer step sees, as a bound; a step always holds whole rows.
        pack_tokens: Tokens computed at once; bounds memory and never changes a gradient.
        num_steps: Optimizer steps over all epochs.
        checkpoint_every: Steps between checkpoints.
        evaluate_every: Steps between validations; 0 means never.
        method: The method with resolved options.
        objective: The objective with resolved options.
        probes: Blob of the probe rows that certify parity.
    """

    launcher: str
    backend: str
    precision: Literal["fp32", "bf16"]
    seed: int
    num_examples: int
    examples: Digest
    max_length: int
    too_long: str
    batch_tokens: int
    pack_tokens: int
    epochs: float
    num_steps: int
    warmup_steps: int
    learning_rate: float
    weight_decay: float
    max_grad_norm: float
    gradient_checkpointing: bool
    checkpoint_every: int
    evaluate_every: int
    method: dict[str, Any]
    objective: dict[str, Any]
    probes: Digest


class Reason(Noun):
    """Why a number is what it is."""

    field: str
    value: str
    reason: str


class PlanWitness(Witness):
    """The machine that was found and what the run is expected to take on it."""

    hardware: dict[str, Any] = {}
    memory_bytes: dict[str, int] = {}
    peak_memory_bytes: int = 0
    seconds_estimate: float = 0.0
    rate_tokens_per_second: float = 0.0
    num_tokens: int = 0
    num_trained_tokens: int = 0
    reasons: tuple[Reason, ...] = ()
    seconds: float = 0.0


class Plan(Record[PlanIdentity, PlanWitness]):
    """Stage 3's record."""

    KIND: ClassVar[str] = "plan"
