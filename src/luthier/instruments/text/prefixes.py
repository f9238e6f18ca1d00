"""How many tokens rows hold when what their beginnings have in common is counted once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


def count_distinct_tokens(rows: Sequence[NDArray[np.int32]]) -> int:
    """Count the nodes of the prefix tree of some rows: what computing shared beginnings once leaves to compute.

    Args:
        rows: Token ids of each row.

    Returns:
        The sum of all lengths less what each row shares with its neighbour in sorted order.
    """
    ordered = sorted(rows, key=lambda row: row.astype(">u4").tobytes())
    shared = sum(_count_common(left, right) for left, right in pairwise(ordered))
    return sum(len(row) for row in rows) - shared


def _count_common(left: NDArray[np.int32], right: NDArray[np.int32]) -> int:
    length = min(len(left), len(right))
    differs = np.flatnonzero(left[:length] != right[:length])
    return int(differs[0]) if len(differs) else length
