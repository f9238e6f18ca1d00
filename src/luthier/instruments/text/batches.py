"""Which rows make up which optimizer step: decided by lengths, batch_tokens and seed alone.

The plan counts the steps with this and training follows them, so both always agree. How a step's rows are
packed for computing is the engine's affair and never moves a row from one step to another.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from luthier.foundation.core.seeds import derive_seed


@dataclass(frozen=True, slots=True)
class StepRows:
    """One optimizer step's rows.

    Attributes:
        epoch: Which pass over the rows, from 0.
        rows: Positions in the list of examples.
        num_tokens: Tokens of these rows written out one by one.
    """

    epoch: int
    rows: tuple[int, ...]
    num_tokens: int


def order_rows(num_rows: int, *, seed: int, epoch: int) -> list[int]:
    """Return the order of one epoch: a permutation that depends on nothing but its arguments."""
    generator = np.random.Generator(np.random.PCG64(derive_seed(seed, "train", "order", epoch)))
    return [int(index) for index in generator.permutation(num_rows)]


def iterate_steps(lengths: Sequence[int], *, batch_tokens: int, epochs: float, seed: int) -> Iterator[StepRows]:
    """Yield every step of a run in order.

    A step takes whole rows in the epoch's order while they fit into ``batch_tokens``; a row that is longer makes a
    step of its own. Steps never straddle epochs. A fraction of an epoch takes that share of its rows.

    Args:
        lengths: Tokens of each row.
        batch_tokens: Bound on a step's tokens.
        epochs: Passes over the rows, fractions allowed.
        seed: The plan's seed.
    """
    for epoch in range(math.ceil(epochs)):
        order = order_rows(len(lengths), seed=seed, epoch=epoch)
        share = min(1.0, epochs - epoch)
        taken: list[int] = []
        num_tokens = 0
        for row in order[: math.ceil(share * len(lengths))]:
            if taken and num_tokens + lengths[row] > batch_tokens:
                yield StepRows(epoch, tuple(taken), num_tokens)
                taken, num_tokens = [], 0
            taken.append(row)
            num_tokens += lengths[row]
        if taken:
            yield StepRows(epoch, tuple(taken), num_tokens)


def count_steps(lengths: Sequence[int], *, batch_tokens: int, epochs: float, seed: int) -> int:
    """Count the steps of a run."""
    return sum(1 for _ in iterate_steps(lengths, batch_tokens=batch_tokens, epochs=epochs, seed=seed))
