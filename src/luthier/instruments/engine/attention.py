"""Attention over a forest of segments, plugged into transformers' own attention interface.

Each segment is one call of ``scaled_dot_product_attention``: its queries against its ancestors' keys and its own.
No mask over the pack exists, so cost and memory grow with the rows, not with the pack. The forest reaches this
function as a keyword argument that every decoder hands down to its attention layers; a decoder that loses it on the
way is refused here and runs unpacked (``load.py``).

On an accelerator the same calls run; kernels for variable lengths (FlexAttention, varlen FlashAttention) would be
faster there and are not written yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface

from luthier.foundation.core.errors import ModelError
from luthier.instruments.engine.block_attention import DTYPES, attend_blocks
from luthier.instruments.engine.fused import product_dtype
from luthier.instruments.engine.segments import Forest
from luthier.instruments.engine.tiles import fill

ATTENTION_NAME: Final = "luthier_forest"
FOREST_KEY: Final = "luthier_forest"


def attend_forest(
    query_1HNK: Tensor,
    key_1GNK: Tensor,
    value_1GNK: Tensor,
    forest: Forest,
    *,
    scaling: float,
    sliding_window: int | None = None,
) -> Tensor:
    """Attend within each segment and to its ancestors; what lies behind the last segment is filler and gets zeros.

    Args:
        query_1HNK: Queries of the whole stream, or as many as the forest has.
        key_1GNK: Keys, with fewer heads where heads are grouped.
        value_1GNK: Values.
        forest: Which tokens see which.
        scaling: Factor on the dot products.
        sliding_window: A token sees this many positions back, itself included; None sees all.

    Returns:
        Outputs of all queries.

    Shapes:
        H query heads, G key-value heads, N tokens, K head width; the result is (1, H, N, K), or (1, H, Q, K) for Q
        queries in all.
    """
    dtype = product_dtype(query_1HNK)
    query_1HNK, key_1GNK, value_1GNK = (t_1XNK.to(dtype) for t_1XNK in (query_1HNK, key_1GNK, value_1GNK))
    lengths = list(forest.lengths)
    keys, values = (t_1GNK[:, :, : forest.num_tokens].split(lengths, dim=2) for t_1GNK in (key_1GNK, value_1GNK))
    num_queries = list(forest.num_queries or lengths)
    num_filler = query_1HNK.shape[2] - sum(num_queries)
    queries = query_1HNK[:, :, : sum(num_queries)].split(num_queries, dim=2)
    outputs = list(queries)
    for levels in forest.lineages:
        family = levels[-1]
        if not queries[family[0]].shape[2]:
            continue
        output_BHQK = _attend(
            _stack(queries, family),
            *(_join(parts, levels) for parts in (keys, values)),
            scaling=scaling,
            window=sliding_window,
        )
        for index, output_1HQK in zip(family, output_BHQK.split(1), strict=True):
            outputs[index] = output_1HQK
    return fill(torch.cat(outputs, dim=2), num_filler, dim=2)


def _stack(parts: Sequence[Tensor], members: Sequence[int]) -> Tensor:
    """Put segments of one length beside each other; one that all of them share is repeated without a copy."""
    if len(set(members)) == 1:
        return parts[members[0]].expand(len(members), -1, -1, -1)
    return torch.cat([parts[index] for index in members])


def _join(parts: Sequence[Tensor], levels: Sequence[Sequence[int]]) -> Tensor:
    """Let each member of a family follow its ancestors, the root first."""
    stacked = [_stack(parts, members) for members in levels]
    return stacked[0] if len(stacked) == 1 else torch.cat(stacked, dim=2)


def _attend(query_BHQK: Tensor, key_BGTK: Tensor, value_BGTK: Tensor, *, scaling: float, window: int | None) -> Tensor:
    num_queries, num_keys = query_BHQK.shape[2], key_BGTK.shape[2]
    window = num_keys if window is None else window
    is_windowed = num_keys > window
    if not is_windowed and query_BHQK.device.type == "cpu" and query_BHQK.dtype in DTYPES:
        return attend_blocks(query_BHQK, key_BGTK, value_BGTK, scaling=scaling)
    mask_QT = None
    if is_windowed or num_queries != num_keys:
        ones_QT = torch.ones(num_queries, num_keys, dtype=torch.bool, device=query_BHQK.device)
        mask_QT = ones_QT.tril(num_keys - num_queries)
        if is_windowed:
            mask_QT = mask_QT & ones_QT.triu(num_keys - num_queries - window + 1)
    return scaled_dot_product_attention(
        query_BHQK,
        key_BGTK,
        value_BGTK,
        attn_mask=mask_QT,
        is_causal=mask_QT is None,
        scale=scaling,
        enable_gqa=query_BHQK.shape[1] != key_BGTK.shape[1],
    )


def _forest_attention(  # noqa: PLR0913  transformers' signature
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001  the forest is the mask
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **options: Any,  # noqa: ANN401  transformers' signature
) -> tuple[Tensor, None]:
    """Answer transformers' attention interface: (1, H, N, K) in, (1, N, H, K) out."""
    forest = options.get(FOREST_KEY)
    unsupported = [name for name in ("softcap", "s_aux", "position_bias") if options.get(name) is not None]
    if dropout:
        unsupported.append("attention dropout")
    if not getattr(module, "is_causal", True):
        unsupported.append("attention to later tokens")
    if not isinstance(forest, Forest) or unsupported:
        raise ModelError(
            "E-ENG-008",
            "this architecture cannot attend over packed segments",
            got=", ".join(unsupported) or "an attention layer that was not handed the segments",
            allowed="decoders that attend through transformers' attention interface",
            fix="load_model(folder, attention='plain')",
        )
    output_1HNK = attend_forest(
        query,
        key,
        value,
        forest,
        scaling=query.shape[-1] ** -0.5 if scaling is None else scaling,
        sliding_window=sliding_window,
    )
    return output_1HNK.transpose(1, 2), None


def register() -> None:
    """Make the attention known to transformers under :data:`ATTENTION_NAME`; safe to repeat."""
    AttentionInterface.register(ATTENTION_NAME, _forest_attention)
    AttentionMaskInterface.register(ATTENTION_NAME, lambda *_args, **_options: None)
