"""What a launcher is given and gives back, and the two protocols that plug into training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn

from luthier.foundation.schema.plan import PlanIdentity
from luthier.foundation.schema.protocols import Context
from luthier.foundation.schema.rows import Row
from luthier.instruments.engine.load import LoadedModel
from luthier.instruments.text.encode import EncodedRow
from luthier.instruments.text.fit import FittedRows
from luthier.instruments.text.pairs import Example
from luthier.instruments.text.tokens import TextTokenizer
from luthier.stages.train.interrupt import Interrupts


class Objective(Protocol):
    """What the loss is. One folder in ``objectives/``.

    An example is what one row of data teaches: a sequence to imitate, or two to compare. The loop deals whole examples
    into steps and never looks inside: what is computed together, and what a step's sum is divided by, is said here.

    Attributes:
        figures: What it reports of each step beside the loss; names of the curve.
    """

    figures: tuple[str, ...]

    def encode(
        self,
        rows: Iterable[Row],
        tokenizer: TextTokenizer,
        *,
        config: Any,  # noqa: ANN401  the objective's own options
        plan: PlanIdentity,
        on_row: Callable[[], None] | None = None,
    ) -> FittedRows[Example]:
        """Turn rows into examples, doing with long ones what the plan says."""
        ...

    def weigh(self, examples: Sequence[Any]) -> float:
        """Return what the summed loss of these examples is divided by: trained tokens, or pairs."""
        ...

    def pack(self, loaded: LoadedModel, examples: Sequence[Any], *, pack_tokens: int) -> Sequence[Any]:
        """Part examples into batches that are each run at once, so that their losses add up to that of all."""
        ...

    def loss(self, tuned: Tuned, batch: Any, config: Any) -> SummedLoss:  # noqa: ANN401  its own batch and options
        """Return the sum, not the mean, of a batch's losses, in nats."""
        ...


class Method(Protocol):
    """Which weights move: the runtime half that the engine's ``methods/`` provide."""

    def build(self, loaded: LoadedModel, config: Any, *, seed: int) -> list[nn.Parameter]:  # noqa: ANN401
        """Change the model so that what is trained requires a gradient."""
        ...

    def state(self, loaded: LoadedModel) -> dict[str, Tensor]:
        """Return what is trained, by name."""
        ...

    def load_state(self, loaded: LoadedModel, state: dict[str, Tensor]) -> None:
        """Put it back, all of it or not at all."""
        ...

    def save(self, loaded: LoadedModel, folder: Path) -> None:
        """Write it in the layout that other tools read."""
        ...

    def disabled(self, loaded: LoadedModel) -> AbstractContextManager[None]:
        """Give the base back inside the context, where the method can."""
        ...


class Launcher(Protocol):
    """On which machines the loop runs. One folder in ``launchers/``."""

    def run(self, job: Job, ctx: Context, interrupts: Interrupts) -> Outcome:
        """Train, keep the best weights, score the probes with them."""
        ...


@dataclass(frozen=True)
class Job:
    """One training run, ready to start anywhere.

    Attributes:
        plan: Every number of the run.
        run_key: Names the run; its checkpoints carry it.
        model_folder: The base.
        base_name: Its catalogue name, written into adapters.
        base_digest: Digest of its weights, written into adapters.
        folder: Where checkpoints, metrics and trained files lie; resumed from.
        objective: The loss.
        objective_config: Its options.
        rows: Examples that are trained, in the plan's order.
        validation_rows: What decides which checkpoint is best.
        probes: What certifies parity later.
    """

    plan: PlanIdentity
    run_key: str
    model_folder: Path
    base_name: str
    base_digest: str
    folder: Path
    objective: Objective
    objective_config: Any
    rows: tuple[Example, ...]
    validation_rows: tuple[Example, ...]
    probes: tuple[EncodedRow, ...]


@dataclass(frozen=True)
class SummedLoss:
    """What a batch adds to its step.

    Attributes:
        total: Sum of losses, in nats; differentiable.
        figures: Further sums for the curve, by name; they are divided as the loss is.
    """

    total: Tensor
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Tuned:
    """A base whose method is built, and the method that knows how to save it."""

    loaded: LoadedModel
    method: Method


@dataclass(frozen=True)
class ProbeScore:
    """One probe as the live model saw it, in fp32 and evaluation mode.

    Attributes:
        row: The probe's tokens.
        logps_M: Log-probability of each scored token.
        best_ids_M: The token that the model found likeliest there.
        gaps_M: Lead of that token over the second, in nats.

    Shapes:
        M scored tokens.
    """

    row: EncodedRow
    logps_M: np.ndarray
    best_ids_M: np.ndarray
    gaps_M: np.ndarray


@dataclass(frozen=True)
class Curve:
    """What the loop measured.

    Attributes:
        best_step: Step whose weights are kept.
        train_loss: Smoothed loss at the last step, nats per trained token.
        validation_loss: Loss of the kept weights on the validation rows; None without any.
        num_resumes: How often the run was taken up again.
        rate_tokens_per_second: Tokens of this attempt over its seconds; 0.0 where no step was left to do.
    """

    best_step: int
    train_loss: float
    validation_loss: float | None
    num_resumes: int
    rate_tokens_per_second: float


@dataclass(frozen=True)
class Outcome:
    """What a launcher hands back.

    Attributes:
        curve: What the loop measured.
        files: Folder that holds the trained files and nothing else.
        probes: Scores of the probes, in order.
        peak_memory_bytes: Greatest memory of the process so far.
    """

    curve: Curve
    files: Path
    probes: tuple[ProbeScore, ...]
    peak_memory_bytes: int
