"""How long a run will take, from the work it does and the speed this machine was measured to have."""

from __future__ import annotations

from typing import Final

from luthier.foundation.schema.model import ModelShape

# Share of the measured matrix-product speed that a whole training step reaches (measured on two cores, SFT with
# LoRA, lengths 50 to 600; benchmarks/HISTORY.md, "plan").
STEP_EFFICIENCY: Final = {"fp32": 0.55, "bf16": 0.28}
LOADING_SECONDS: Final = 5.0  # importing, loading and saving, whatever the run's length
FORWARD: Final = 2.0  # multiply-adds: two floating-point operations a parameter and token
INPUT_GRADIENT: Final = 2.0
WEIGHT_GRADIENT: Final = 2.0


def count_step_flops(
    shape: ModelShape,
    *,
    num_tokens: float,
    num_trained_tokens: float,
    mean_length: float,
    trains_all_weights: bool,
    more_forwards: int,
) -> float:
    """Count the floating-point operations of forward and backward passes.

    Args:
        shape: The base's dimensions.
        num_tokens: Tokens computed.
        num_trained_tokens: Positions at which the head runs.
        mean_length: Mean tokens a row, for attention.
        trains_all_weights: Whether weights get gradients (full) or only their inputs (adapters).
        more_forwards: Times the blocks are computed beyond one forward and one backward pass: again in the backward
            pass where they are recomputed, and under the base where the objective compares with it.

    Source:
        6 N operations a token for full training, 4 N without weight gradients (Kaplan et al. 2020,
        arXiv:2001.08361, section 2.1, and its split into forward and backward).
    """
    embedding = shape.vocabulary * shape.width
    body = float(shape.num_parameters - embedding * (1 if shape.is_tied else 2))
    if shape.num_experts:
        body *= max(shape.experts_per_token, 1) / shape.num_experts
    passes = FORWARD + INPUT_GRADIENT + WEIGHT_GRADIENT * trains_all_weights + FORWARD * more_forwards
    attention = 2.0 * shape.num_layers * mean_length * shape.num_heads * shape.head_width * passes / 2.0
    head = embedding * (FORWARD + INPUT_GRADIENT + WEIGHT_GRADIENT * trains_all_weights)
    return num_tokens * (body * passes + attention) + num_trained_tokens * head


def estimate_seconds(flops: float, *, gigaflops: float, precision: str) -> float:
    """Estimate the time of so many operations at a measured matrix-product speed.

    Args:
        flops: Floating-point operations.
        gigaflops: Measured speed, in 1e9 operations a second.
        precision: ``fp32`` or ``bf16``.

    Units:
        Seconds.
    """
    return flops / (gigaflops * 1e9 * STEP_EFFICIENCY[precision])
