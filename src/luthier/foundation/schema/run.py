"""Run: what training made."""

from __future__ import annotations

from typing import Any, ClassVar

from luthier.foundation.core.hashing import Digest
from luthier.foundation.schema.noun import Identity, Record, Witness


class RunIdentity(Identity):
    """What was made.

    Attributes:
        weights: Digest over the manifest of the trained files (adapter in PEFT layout, or a full model).
        files: Blob digest of each trained file by name.
        probe_scores: Blob of per-token log-probabilities of the probes, scored by the live model in fp32.
        best_step: Step of the checkpoint that was kept (lowest validation loss, else the last).
    """

    weights: Digest
    files: dict[str, Digest]
    method: dict[str, Any]
    base: Digest
    probe_scores: Digest
    num_steps: int
    best_step: int
    train_loss: float
    validation_loss: float | None = None


class RunWitness(Witness):
    """How it went: where, how fast, how much memory."""

    run_id: str = ""
    seconds: float = 0.0
    rate_tokens_per_second: float = 0.0
    peak_memory_bytes: int = 0
    num_resumes: int = 0
    host: str = ""
    metrics: Digest | None = None


class Run(Record[RunIdentity, RunWitness]):
    """Stage 4's record."""

    KIND: ClassVar[str] = "run"
