"""What an operator says about each row, and what an operator is.

An operator is a generator: rows go in, one outcome a row comes out, so that no row can vanish without a
reason. It holds no state between calls; what it must know of held-out rows comes in ``HeldOut``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from luthier.foundation.core.errors import Problem
from luthier.foundation.schema.plugins import OperatorConfig
from luthier.foundation.schema.rows import Row

HeldOut = Mapping[str, Sequence[Row]]
"""The evaluation sets by name; operators read them, and only a ``Shaper`` changes how they are shown."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The row goes on as it is."""

    row: Row


@dataclass(frozen=True, slots=True)
class Flagged:
    """The row goes on as it is, and the ledger says what was noticed."""

    row: Row
    reasons: tuple[str, ...]
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Changed:
    """The row goes on changed; the ledger keeps how it was."""

    row: Row
    before: Row
    reasons: tuple[str, ...]
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Dropped:
    """The row ends here; the ledger keeps it with the reason."""

    row: Row
    reasons: tuple[str, ...]
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refused:
    """The row must be mended by a person; the stage stops and shows all of them."""

    row: Row
    problem: Problem


Outcome = Kept | Flagged | Changed | Dropped | Refused


class Operator(Protocol):
    """The runtime half of an operator, ``PLUGIN`` of its ``operator.py``."""

    def apply(self, rows: Sequence[Row], config: Any, held_out: HeldOut) -> Iterator[Outcome]:  # noqa: ANN401  own Config
        """Yield exactly one outcome for each row, in the rows' order.

        Args:
            rows: All rows that reached this operator.
            config: The operator's own resolved ``Config``.
            held_out: The evaluation sets by name.
        """
        ...


class Shaper(Protocol):
    """An operator that decides what of a row a model is shown, so that questions must be shown as training rows are."""

    def shape(self, row: Row, config: Any) -> Kept | Changed:  # noqa: ANN401  own Config
        """Say how an evaluation row is asked; it never goes."""
        ...


class Scrubber(Protocol):
    """An operator that can also clean what the ledger keeps, so that the ledger holds no secret."""

    def scrub(self, row: Row, config: OperatorConfig) -> Row:
        """Return the row as the ledger may keep it."""
        ...
