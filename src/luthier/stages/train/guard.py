"""When a run is stopped for its own good: a loss that is no number, or one that has left for good."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from luthier.foundation.core.errors import TrainError

SMOOTHING: Final = 0.9
"""Weight of the past in the smoothed loss: about ten steps are remembered."""

MARGIN_NATS: Final = 1.0
"""How far above its best the smoothed loss must be: every trained token e times less likely."""

HOPELESS_NATS: Final = 25.0
"""Twice the loss of a uniform guess over 262,144 tokens: no beginning, however bad, makes this a fair loss."""

LEARNT_NATS: Final = 0.01
"""A loss above this leaves something to learn; a gradient of exactly zero then means weights beyond all scale."""

FIRST_STEPS: Final = 10
"""Steps whose mean stands for the untrained model: one step alone is too noisy to compare with."""

PATIENCE_STEPS: Final = 20
"""Steps in a row before a run counts as diverged; shorter spikes recover."""


@dataclass
class LossGuard:
    """Watches the loss; part of every checkpoint, so that a resumed run stops where it would have.

    The rule is ours. A run has diverged when its smoothed loss has been, for ``PATIENCE_STEPS`` steps in a
    row, above the mean of its first ``FIRST_STEPS`` steps and more than ``MARGIN_NATS`` above its own best, or above
    ``HOPELESS_NATS``, since a run that leaves at once has no first steps to be compared with. A ratio to the best
    would cry wolf on easy tasks, where the loss is near nothing and one hard row triples it.

    Attributes:
        num_steps: Steps seen.
        first: Mean loss of the first steps: how good the model is untrained.
        smoothed: Exponential mean of the loss.
        best: Lowest smoothed loss after the first steps.
        num_bad: Steps in a row that broke the rule.
    """

    num_steps: int = 0
    first: float = 0.0
    smoothed: float = 0.0
    best: float = math.inf
    num_bad: int = 0

    def check(self, step: int, *, loss: float, grad_norm: float, learning_rate: float, kept: str) -> None:
        """Look at one step before its update is applied.

        Args:
            step: Optimizer step, from 1, that the loss belongs to.
            loss: Mean weighted negative log-probability, in nats per trained token.
            grad_norm: Norm of the whole gradient before clipping.
            learning_rate: Peak of the schedule, for the advice.
            kept: Which checkpoint is there to go back to, as a clause.

        Raises:
            TrainError: E-TRN-001 for a loss or gradient that is no finite number; E-TRN-002 for
                divergence and collapse.
        """
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            raise TrainError(
                "E-TRN-001",
                f"step {step} has a loss or gradient that is not a finite number; its update was not applied; {kept}",
                got=f"loss {loss}, gradient norm {grad_norm}",
                allowed="finite numbers",
                fix=f"set train.learning_rate to {learning_rate / 10:.1e}, or plan.precision to fp32",
                field="train.learning_rate",
            )
        if grad_norm == 0.0 and loss > LEARNT_NATS:
            raise TrainError(
                "E-TRN-002",
                f"the run collapsed: at step {step} no gradient reaches what is trained; {kept}",
                got=f"loss {loss:.3f} with a gradient of exactly zero",
                allowed="a gradient, as long as there is something to learn",
                fix=f"set train.learning_rate to {learning_rate / 10:.1e}",
                field="train.learning_rate",
            )
        self._look_at(loss)
        if self.num_bad >= PATIENCE_STEPS:
            raise TrainError(
                "E-TRN-002",
                f"the loss diverged: for {PATIENCE_STEPS} steps it has been worse than before training; {kept}",
                got=f"smoothed loss {self.smoothed:.3f} at step {step}; first {self.first:.3f}, best {self.best:.3f}",
                allowed=f"below {self._bound:.3f} nats",
                fix=f"set train.learning_rate to {learning_rate / 10:.1e}",
                field="train.learning_rate",
            )

    @property
    def _bound(self) -> float:
        return min(max(self.first, self.best + MARGIN_NATS), HOPELESS_NATS)

    def _look_at(self, loss: float) -> None:
        self.num_steps += 1
        weight = (1.0 - SMOOTHING) / (1.0 - SMOOTHING**self.num_steps)  # an unbiased mean from the first step on
        self.smoothed += weight * (loss - self.smoothed)
        if self.num_steps <= FIRST_STEPS:
            self.first += (loss - self.first) / self.num_steps
        else:
            self.best = min(self.best, self.smoothed)
        self.num_bad = self.num_bad + 1 if self.smoothed > self._bound else 0
