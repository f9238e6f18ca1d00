"""How many tokens are computed at once, and whether blocks are recomputed: the largest pack that fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from luthier.foundation.schema.model import ModelShape
from luthier.foundation.schema.noun import Noun
from luthier.foundation.schema.plan import Reason
from luthier.instruments.text.prefixes import count_distinct_tokens
from luthier.stages.plan.machine_speed import Arithmetic
from luthier.stages.plan.memory import count_kept_keys, estimate_memory, explain_over_budget

USUAL_PACK: Final = 1536  # beyond this a pack wins little speed on a processor, and its memory grows on
PAIRED_PACK: Final = 2560  # pairs run twice a step, so small packs cost twice: 8 % of eight pairs of 640 tokens
PAIRED_PACK_BF16: Final = 5120  # the same bytes; another 5 %
LARGEST_PACK: Final = 4096  # where rows share their beginnings, a pack that holds the whole step computes them once
SHARING_PAYS: Final = 1.25  # tokens written out over tokens computed, from which a whole step is packed together
COMFORT: Final = 0.8  # share of the limit that a pack may fill before packs get smaller


class Room(Noun):
    """Memory that a run has.

    Attributes:
        limit_bytes: What may be used in all.
        origin: Where that limit comes from.
        resident_bytes: What the process holds already.
    """

    limit_bytes: int
    origin: str
    resident_bytes: int = 0


class PackChoice(Noun):
    """One way to compute a step, with its memory by parts."""

    pack_tokens: int
    recomputes: bool
    parts: dict[str, int]
    reason: Reason


def prefer_pack_tokens(
    steps: Sequence[Sequence[NDArray[np.int32]]],
    *,
    num_apart: int | None = None,
    is_paired: bool = False,
    precision: str = "fp32",
) -> int:
    """Return how large a pack should be where memory does not matter.

    Args:
        steps: Token ids of the sequences of some steps.
        num_apart: Tokens to compute where each example is by itself; None where every sequence is an example.
        is_paired: Whether examples are pairs.
        precision: What products are computed in.

    Returns:
        1,536, of pairs 2,560 and in bf16 5,120, or the largest step where that is less; or, where the examples of a
        step share so much that packing them together saves a fifth of the work, what the largest step takes with
        shared beginnings counted once, up to 4,096.
    """
    usual = USUAL_PACK
    if is_paired:
        usual = PAIRED_PACK_BF16 if precision == "bf16" else PAIRED_PACK
    distinct = [count_distinct_tokens(rows) for rows in steps]
    apart = sum(len(row) for rows in steps for row in rows) if num_apart is None else num_apart
    if apart < SHARING_PAYS * sum(distinct):
        return min(usual, max(distinct, default=usual))
    return max(usual, min(LARGEST_PACK, max(distinct)))


def choose_pack(
    shape: ModelShape,
    *,
    trainable: int,
    arithmetic: Arithmetic,
    lengths: Sequence[int],
    preferred: int,
    room: Room,
) -> PackChoice:
    """Choose pack size and recomputation.

    Packs never change a gradient, so this trades memory against speed alone: first the largest pack that fills at
    most 80 % of the limit, down to the longest row; then, only where that does not fit, recomputation.

    Args:
        shape: The base's dimensions.
        trainable: Parameters that get gradients.
        arithmetic: How the run computes.
        lengths: Tokens of each example, of which the longest must fit whole.
        preferred: Tokens of a pack where memory does not matter; see :func:`prefer_pack_tokens`.
        room: What may be used, and what is taken already.

    Raises:
        PlanError: E-PLN-001 when nothing fits.
    """
    longest, kept_keys = max(lengths), count_kept_keys(lengths)

    def parts(pack_tokens: int, *, recomputes: bool, trained: int = trainable) -> dict[str, int]:
        found = estimate_memory(
            shape,
            trainable=trained,
            arithmetic=arithmetic,
            pack_tokens=pack_tokens,
            recomputes=recomputes,
            kept_keys=kept_keys,
        )
        return found | {"process": found["process"] + room.resident_bytes}

    largest = max(longest, preferred)
    sizes = [largest]
    while sizes[-1] > longest:
        sizes.append(max(longest, sizes[-1] // 2))
    for recomputes in (False, True):
        for size in sizes:
            found = parts(size, recomputes=recomputes)
            needed = sum(found.values())
            if needed <= COMFORT * room.limit_bytes or (size == longest and needed <= room.limit_bytes):
                why = f"{size} tokens at once need {needed / 2**30:.2f} of {room.limit_bytes / 2**30:.2f} GiB"
                why += ", blocks recomputed in the backward pass" if recomputes else ""
                reason = Reason(field="plan.pack_tokens", value=str(size), reason=why)
                return PackChoice(pack_tokens=size, recomputes=recomputes, parts=found, reason=reason)
    changes = {f"train.max_length={size}": parts(size, recomputes=True) for size in _halve(longest)}
    if trainable >= shape.num_parameters:
        changes["train.method=lora"] = parts(longest, recomputes=True, trained=trainable // 100)
    raise explain_over_budget(
        parts(longest, recomputes=True), limit=(room.limit_bytes, room.origin), alternatives=changes
    )


def _halve(length: int) -> list[int]:
    found = []
    while length > 64:
        length //= 2
        found.append(length)
    return found
