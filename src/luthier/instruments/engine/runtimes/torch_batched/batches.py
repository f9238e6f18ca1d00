"""Which prompts are answered together: by what they share, then by length. Depends on the prompts and options alone.

A batch never depends on which others were answered before, so an evaluation that was killed asks its open batches
again with the very same company, and gets the very same answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from luthier.instruments.engine.runtimes.torch_batched.config import Config

MIN_SHARED_TOKENS: Final = 16
MIN_GROUP_ROWS: Final = 4
"""A group is worth its own prefix from this many prompts on; fewer would make batches too small."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Prompts answered together.

    Attributes:
        rows: Their places in the list of prompts, shortest first.
        num_shared: Tokens at the beginning that all prompts of the batch's group share.
    """

    rows: tuple[int, ...]
    num_shared: int


def plan_batches(prompts: Sequence[np.ndarray], config: Config) -> list[Batch]:
    """Cut prompts into fixed batches.

    Args:
        prompts: Token ids of each prompt.
        config: Bounds on rows and tokens, and whether beginnings are shared.

    Returns:
        Batches that hold every prompt once; batches of one group follow each other.
    """
    if not prompts:
        return []
    everyone = sorted(range(len(prompts)), key=lambda row: (prompts[row].tolist(), row))
    groups = _split(prompts, everyone) if config.share_prefixes else [(everyone, 0)]
    return [batch for rows, num_shared in groups for batch in _cut(prompts, rows, num_shared, config)]


def count_shared(first: np.ndarray, second: np.ndarray) -> int:
    """Count the tokens at the beginning on which two prompts agree."""
    length = min(len(first), len(second))
    different = np.flatnonzero(first[:length] != second[:length])
    return int(different[0]) if len(different) else length


def _split(prompts: Sequence[np.ndarray], rows: list[int]) -> list[tuple[list[int], int]]:
    """Cut lexicographically sorted rows into groups with a common beginning, from the outside in.

    At each depth the rows part by the token after their common beginning. Parts that share more and are large enough
    become groups of their own; the others stay together with what all share.
    """
    done: list[tuple[list[int], int]] = []
    open_groups = [rows]
    while open_groups:
        group = open_groups.pop()
        num_shared = _shared_by_all(prompts, group)
        parts = _part_by_next_token(prompts, group, count_shared(prompts[group[0]], prompts[group[-1]]))
        own = [part for part in parts if _deserves_own_prefix(prompts, part, num_shared)] if len(parts) > 1 else []
        open_groups.extend(own)
        taken = {row for part in own for row in part}
        rest = [row for row in group if row not in taken]
        if rest:
            done.append((rest, num_shared if len(rest) > 1 and num_shared >= MIN_SHARED_TOKENS else 0))
    return sorted(done, key=lambda item: item[0][0])


def _shared_by_all(prompts: Sequence[np.ndarray], rows: list[int]) -> int:
    """Count what sorted rows share, less than their shortest: the last token must be computed for each."""
    return min(count_shared(prompts[rows[0]], prompts[rows[-1]]), min(len(prompts[row]) for row in rows) - 1)


def _part_by_next_token(prompts: Sequence[np.ndarray], rows: list[int], depth: int) -> list[list[int]]:
    parts: dict[int, list[int]] = {}
    for row in rows:
        parts.setdefault(int(prompts[row][depth]) if len(prompts[row]) > depth else -1, []).append(row)
    return list(parts.values())


def _deserves_own_prefix(prompts: Sequence[np.ndarray], rows: list[int], num_shared: int) -> bool:
    return len(rows) >= MIN_GROUP_ROWS and _shared_by_all(prompts, rows) >= num_shared + MIN_SHARED_TOKENS


def _cut(prompts: Sequence[np.ndarray], rows: list[int], num_shared: int, config: Config) -> list[Batch]:
    batches: list[Batch] = []
    taken: list[int] = []
    for row in sorted(rows, key=lambda row: (len(prompts[row]), row)):
        width = len(prompts[row]) - num_shared + config.max_new_tokens
        is_full = len(taken) == config.batch_rows or (len(taken) + 1) * width > config.batch_tokens
        if taken and is_full:
            batches.append(Batch(tuple(taken), num_shared))
            taken = []
        taken.append(row)
    batches.append(Batch(tuple(taken), num_shared))
    return batches
