"""What a selector is and what it gives: the rows worth training on, best first, so that any prefix is a choice.

How many rows are trained on is not a selector's to say: the plan takes as long a prefix as fits its time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from luthier.foundation.core.hashing import sha256_json
from luthier.foundation.schema.rows import Row


@dataclass(frozen=True, slots=True)
class Pick:
    """One row of a ranking.

    Attributes:
        index: Which row, from 0.
        reason: Why it was taken, in the selector's words.
    """

    index: int
    reason: str


@dataclass(frozen=True, slots=True)
class Ranking:
    """Rows in the order in which they are to be taken.

    Attributes:
        picks: Best first; no row twice.
        flops: Floating-point operations that the choice took, a counted estimate.
    """

    picks: tuple[Pick, ...]
    flops: int = 0

    def count_reasons(self) -> dict[str, int]:
        """Return how many rows were taken for each reason."""
        return dict(sorted(Counter(pick.reason for pick in self.picks).items()))


class Selector(Protocol):
    """The runtime half of a selector, ``PLUGIN`` of its ``selector.py``."""

    def rank(self, rows: Sequence[Row], config: Any, *, number: int, seed: int) -> Ranking:  # noqa: ANN401  own Config
        """Return the rows that are worth most, best first.

        Args:
            rows: The training rows; never those held out.
            config: The selector's own resolved ``Config``.
            number: How many to return, from 1 to all.
            seed: The recipe's seed.
        """
        ...


def draw_order(rows: Sequence[Row], seed: int) -> list[int]:
    """Return row indices in a seeded order of their ids, whatever order the rows came in."""
    keys = [sha256_json([seed, "select", row.id]) for row in rows]
    return sorted(range(len(rows)), key=keys.__getitem__)
