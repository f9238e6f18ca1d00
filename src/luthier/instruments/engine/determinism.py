"""One seed for every generator that tensor code draws from, and algorithms that repeat bit for bit."""

from __future__ import annotations

import random

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch, and ask torch for algorithms that repeat; it warns where it has none.

    Args:
        seed: A number from ``core.seeds.derive_seed``.
    """
    random.seed(seed)  # noqa: TID251  libraries draw from the global generator; this is the one place that seeds it
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(mode=True, warn_only=True)
