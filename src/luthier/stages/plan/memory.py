"""How much memory a run will take at its peak, part by part, before anything is loaded.

Every part is arithmetic over the base's shape; the constants were fitted to measured peaks
(`benchmarks/plan`, six configurations: full and LoRA, lengths 256 and 2,048, two sizes).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from luthier.foundation.core.errors import PlanError
from luthier.foundation.schema.model import ModelShape
from luthier.stages.plan.machine_speed import Arithmetic

IMPORT_BYTES: Final = 330 * 2**20  # what importing torch, transformers and peft adds to a process
FLOAT_BYTES: Final = {"fp32": 4, "bf16": 2}
OPTIMIZER_BYTES: Final = 4 + 8  # a gradient and Adam's two moments, float32, for each trained parameter
LOSS_CHUNK_BYTES: Final = 3 * 32 * 2**20  # logits of one chunk with their softmax and gradient
KEPT_KEYS: Final = 768  # rows up to here keep their attention weights: `engine/block_attention.py`, KEEP_KEYS
BLOCK_QUERIES: Final = 128  # and each block of queries keeps those of all keys up to its last
SAVED_FACTOR: Final = 0.8  # measured over counted: fused norms, activations and adapters keep less than plain ones
CRUMBLED_FACTOR: Final = 1.4  # the same from packs of 2,048 tokens on: blocks of several MiB leave holes in the heap
KERNELS_FACTOR: Final = 1.0  # the same where kernels hold the attention scores of a few queries at a time
USUAL_PACK: Final = 1024  # tokens up to which no holes were seen


def estimate_memory(
    shape: ModelShape,
    *,
    trainable: int,
    arithmetic: Arithmetic,
    pack_tokens: int,
    recomputes: bool,
    kept_keys: float = 0.0,
) -> dict[str, int]:
    """Estimate the peak by parts.

    Args:
        shape: The base's dimensions.
        trainable: Parameters that get gradients.
        arithmetic: How the run computes.
        pack_tokens: Tokens computed at once.
        recomputes: Whether blocks are computed again in the backward pass.
        kept_keys: Attention weights that a token keeps in each head; see :func:`count_kept_keys`.

    Returns:
        Bytes by part: process, weights, adapter, optimizer, activations, loss.
    """
    precision = arithmetic.precision
    is_full = trainable >= shape.num_parameters
    weights = 4 * shape.num_parameters
    copies = 0 if precision == "fp32" or is_full else 2 * shape.num_parameters
    blocks = 1 if recomputes else shape.num_layers
    activations = pack_tokens * blocks * count_saved_bytes(shape, precision=precision, kept_keys=kept_keys)
    activations += pack_tokens * shape.width * 4 * (shape.num_layers + 4) * recomputes
    head = shape.vocabulary * shape.width * 4 if is_full else 0
    return {
        "process": IMPORT_BYTES,
        "weights": weights + copies,
        "adapter": 0 if is_full else 4 * trainable,
        "optimizer": OPTIMIZER_BYTES * trainable,
        "activations": int(choose_saved_factor(pack_tokens, uses_kernels=arithmetic.uses_kernels) * activations),
        "loss": LOSS_CHUNK_BYTES + head,
    }


def choose_saved_factor(pack_tokens: int, *, uses_kernels: bool = False) -> float:
    """Return measured over counted activations: growing from packs of 1,024 to packs of 2,048 tokens."""
    share = min(max((pack_tokens - USUAL_PACK) / USUAL_PACK, 0.0), 1.0)
    return SAVED_FACTOR + share * ((KERNELS_FACTOR if uses_kernels else CRUMBLED_FACTOR) - SAVED_FACTOR)


def count_kept_keys(lengths: Sequence[int]) -> float:
    """Return how many attention weights a token keeps in each head, over all tokens of some rows.

    Args:
        lengths: Tokens of each row.
    """
    kept = sum(length * (length + BLOCK_QUERIES) / 2 for length in lengths if length <= KEPT_KEYS)
    return kept / max(sum(lengths), 1)


def count_saved_bytes(shape: ModelShape, *, precision: str, kept_keys: float = 0.0) -> int:
    """Count what autograd keeps of one token in one block, in bytes.

    Two norms keep their inputs in float32; queries, keys, values, the attention's output, the gate and up products,
    their activation and the down projection's input are kept in the products' precision, and so are attention weights.
    """
    small = FLOAT_BYTES[precision]
    heads = shape.head_width * (2 * shape.num_heads + 2 * shape.num_key_value_heads)
    experts = max(shape.experts_per_token, 1)
    weights = int(kept_keys * shape.num_heads)
    return 4 * 4 * shape.width + small * (3 * shape.width + 2 * heads + weights + 4 * experts * shape.feed_forward)


def explain_over_budget(
    parts: dict[str, int], *, limit: tuple[int, str], alternatives: dict[str, dict[str, int]]
) -> PlanError:
    """Say that a run does not fit, naming the cheapest change that does.

    Args:
        parts: The estimate.
        limit: Bytes that may be used, and where that limit comes from.
        alternatives: Estimates by the setting that would give them, cheapest first.

    Returns:
        E-PLN-001, to be raised.
    """
    needed = sum(parts.values())
    limit_bytes, limit_origin = limit
    fits = next((change for change, other in alternatives.items() if sum(other.values()) <= limit_bytes), "")
    smallest = min((sum(other.values()) for other in alternatives.values()), default=needed)
    largest = max(parts, key=lambda name: parts[name])
    return PlanError(
        "E-PLN-001",
        "the run does not fit the memory",
        got=f"{needed / 2**30:.2f} GiB at the peak, most of it {largest} ({parts[largest] / 2**30:.2f} GiB)",
        needs=f"at most {limit_bytes / 2**30:.2f} GiB",
        origin=limit_origin,
        allowed="any of: " + ", ".join(alternatives) if alternatives else "a run whose peak is below the limit",
        fix=f"--set {fits}" if fits else f"a smaller base, or a machine with {smallest / 2**30:.2f} GiB free",
        field="plan.memory_limit",
    )
