"""Seeds by name: every random choice has its own stream, so adding one never moves another."""

from __future__ import annotations

import hashlib


def derive_seed(root: int, *names: str | int) -> int:
    """Derive a seed for one named purpose.

    Args:
        root: The recipe's seed.
        names: What the seed is for, from the outside in, for example ``("train", "order", epoch)``.

    Returns:
        A number in [0, 2**63).
    """
    text = "\x1f".join([str(root), *(str(name) for name in names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
