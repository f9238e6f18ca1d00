"""The learning rate of every step: linear warm-up, then half a cosine down to nothing. Pure arithmetic."""

from __future__ import annotations

import math


def learning_rate_at(step: int, *, peak: float, warmup_steps: int, num_steps: int) -> float:
    """Return the learning rate of one optimizer step.

    The warm-up climbs in ``warmup_steps + 1`` equal strides, so that no step runs at rate nothing, as the
    first one does in the usual schedule; from its end on the two are the same.

    Args:
        step: Optimizer step, from 0.
        peak: Rate at the end of the warm-up.
        warmup_steps: Steps below the peak at the start.
        num_steps: All optimizer steps of the run.

    Source:
        Cosine: Loshchilov and Hutter 2017, arXiv:1608.03983, with one period and no restart.
    """
    if step < warmup_steps:
        return peak * (step + 1) / (warmup_steps + 1)
    progress = (step - warmup_steps) / max(1, num_steps - warmup_steps)
    return peak * max(0.0, 0.5 * (1.0 + math.cos(math.pi * progress)))
