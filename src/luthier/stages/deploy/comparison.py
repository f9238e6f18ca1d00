"""Whether two ways of computing one model say the same: differences of log-probabilities, agreement of best tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np


@dataclass(frozen=True)
class Contract:
    """How far a form of the model may lie from the live one.

    Attributes:
        max_delta: Greatest difference of any token's log-probability.
        min_gap: Where the live model's two best tokens lie further apart than this, the best must be the same.

    Units:
        Nats.
    """

    max_delta: float = 1e-4
    min_gap: float = 2e-4

    def __str__(self) -> str:
        """Say the contract in words."""
        return (
            f"in fp32 no token's log-probability differs by more than {self.max_delta:g} nats, and the best token is "
            f"the same wherever the two best lie more than {self.min_gap:g} nats apart"
        )


FP32_CONTRACT: Final = Contract()


class Scored(Protocol):
    """Scores of one row's tokens, as ``engine.score`` gives them and as train stored them."""

    @property
    def logps_M(self) -> np.ndarray:
        """Log-probability of each token, nats."""
        ...

    @property
    def best_ids_M(self) -> np.ndarray:
        """The likeliest token at each place."""
        ...

    @property
    def gaps_M(self) -> np.ndarray:
        """Lead of the likeliest token over the second, nats."""
        ...


@dataclass(frozen=True)
class Comparison:
    """What was measured over all rows.

    Attributes:
        num_decided: Places where the first model's two best tokens lie further apart than the contract's gap.
        num_agreeing: Those of them where the second model's best token is the same.
        worst: Row with the greatest difference.
    """

    num_rows: int
    num_tokens: int
    max_delta: float
    mean_delta: float
    num_decided: int
    num_agreeing: int
    worst: str = ""

    @property
    def top1_agreement(self) -> float:
        """Share of decided places with the same best token; 1 where nothing is decided."""
        return self.num_agreeing / self.num_decided if self.num_decided else 1.0

    def find_breach(self, contract: Contract) -> str:
        """Say what lies beyond a contract; empty where all is within. A value that is no number is beyond."""
        if not self.max_delta <= contract.max_delta:
            return (
                f"a log-probability differs by {self.max_delta:.3g} nats, worst in {self.worst}; "
                f"allowed are {contract.max_delta:g}"
            )
        if self.num_agreeing < self.num_decided:
            return (
                f"another best token at {self.num_decided - self.num_agreeing} of {self.num_decided} places where the "
                f"two best lie more than {contract.min_gap:g} nats apart"
            )
        return ""


def compare_scores(
    first: Sequence[Scored], second: Sequence[Scored], *, names: Sequence[str], contract: Contract = FP32_CONTRACT
) -> Comparison:
    """Compare scores of the same tokens under two models.

    Args:
        first: What holds; its gaps decide where best tokens are compared.
        second: What is measured against it.
        names: A name of each row, for sentences.
        contract: Whose gap decides.

    Raises:
        ValueError: When rows or tokens are not the same in number.
    """
    deltas = [np.abs(one.logps_M - other.logps_M) for one, other in zip(first, second, strict=True)]
    greatest = [float(delta_M.max(initial=0.0)) for delta_M in deltas]
    place = int(np.argmax(greatest)) if greatest else 0  # argmax finds a NaN first
    decided = [one.gaps_M > contract.min_gap for one in first]
    agreeing = [
        is_decided & (one.best_ids_M == other.best_ids_M)
        for is_decided, one, other in zip(decided, first, second, strict=True)
    ]
    num_tokens = sum(len(delta_M) for delta_M in deltas)
    return Comparison(
        num_rows=len(deltas),
        num_tokens=num_tokens,
        max_delta=greatest[place] if greatest else 0.0,
        mean_delta=float(sum(delta_M.sum() for delta_M in deltas)) / max(num_tokens, 1),
        num_decided=sum(int(mask_M.sum()) for mask_M in decided),
        num_agreeing=sum(int(mask_M.sum()) for mask_M in agreeing),
        worst=names[place] if names else "",
    )
