"""The probe rows that certify parity: held-out rows first, filled from a fixed set of our own."""

from __future__ import annotations

from collections.abc import Iterable

from luthier.foundation.core.hashing import sha256_json
from luthier.foundation.schema.rows import Row


def pick_probes(held_out: Iterable[Row], fixed: Iterable[Row], *, wanted: int, seed: int) -> tuple[Row, ...]:
    """Pick probe rows.

    Args:
        held_out: Rows of test and validation.
        fixed: Rows of ``examples/probes``.
        wanted: ``plan.probes``.
        seed: Seeds the draw among held-out rows; the order of what comes in does not matter.

    Returns:
        At most ``wanted`` rows: held-out ones in a seeded order, then fixed ones in their own.
    """
    drawn = sorted(held_out, key=lambda row: sha256_json([seed, "probe", row.id]))
    return (*drawn[:wanted], *tuple(fixed)[: max(0, wanted - len(drawn))])
