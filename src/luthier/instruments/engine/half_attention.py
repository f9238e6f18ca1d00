"""Causal attention in bfloat16 on a CPU, with a backward pass of a few batched products.

torch's own backward pass for this case takes two to three times as long (torch 2.13, avx512_bf16, rows of 100 to 600
tokens). The forward pass is torch's; it also gives each query's log-sum-exp, from which the backward pass computes
the attention weights again, a block of queries at a time against the keys that the block can see.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor

BLOCK_QUERIES: Final = 128
_FLASH: Final = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


def attend_half(
    query_BHQK: Tensor, key_BGTK: Tensor, value_BGTK: Tensor, mask_QT: Tensor | None, *, scaling: float
) -> Tensor:
    """Attend causally; the queries are the last Q of the T positions.

    Args:
        query_BHQK: Queries.
        key_BGTK: Keys, with fewer heads where heads are grouped.
        value_BGTK: Values.
        mask_QT: The causal mask where there are more keys than queries; None where there are not.
        scaling: Factor on the dot products.

    Returns:
        Outputs like the queries.

    Shapes:
        B rows, H query heads, G key-value heads, Q queries, T >= Q keys, K head width.
    """
    output_BHQK: Tensor = _HalfAttention.apply(  # type: ignore[no-untyped-call]
        query_BHQK, key_BGTK, value_BGTK, mask_QT, scaling
    )
    return output_BHQK


class _HalfAttention(torch.autograd.Function):
    """Softmax attention whose weights are computed again in the backward pass."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401  autograd's context
        query_BHQK: Tensor,
        key_BGTK: Tensor,
        value_BGTK: Tensor,
        mask_QT: Tensor | None,
        scaling: float,
    ) -> Tensor:
        bias = None
        if mask_QT is not None:
            bias = torch.zeros(mask_QT.shape, dtype=query_BHQK.dtype).masked_fill_(~mask_QT, float("-inf"))[None, None]
        output_BHQK, lse_BHQ = _FLASH(
            query_BHQK, key_BGTK, value_BGTK, 0.0, mask_QT is None, attn_mask=bias, scale=scaling
        )
        ctx.scaling = scaling
        ctx.save_for_backward(query_BHQK, key_BGTK, value_BGTK, output_BHQK, lse_BHQ)
        return output_BHQK  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, grad_BHQK: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401  autograd's context
        query_BHQK, key_BGTK, value_BGTK, output_BHQK, lse_BHQ = ctx.saved_tensors
        num_rows, num_heads, num_queries, width = query_BHQK.shape
        num_groups, num_keys = key_BGTK.shape[1:3]
        grouped = (num_rows * num_groups, num_heads // num_groups, num_queries)  # heads of one key beside each other
        query, grad = query_BHQK.reshape(*grouped, width), grad_BHQK.reshape(*grouped, width)
        dot = (grad_BHQK * output_BHQK).sum(-1, dtype=torch.float32).reshape(*grouped, 1)
        lse = lse_BHQ.reshape(*grouped, 1)
        key, value = key_BGTK.flatten(0, 1), value_BGTK.flatten(0, 1)
        grad_query = torch.empty_like(query)
        grad_key, grad_value = (torch.zeros(key.shape, dtype=torch.float32) for _ in range(2))
        for start in range(0, num_queries, BLOCK_QUERIES):
            block = slice(start, min(start + BLOCK_QUERIES, num_queries))
            seen = num_keys - num_queries + block.stop
            query_b, grad_b = query[:, :, block].flatten(1, 2), grad[:, :, block].flatten(1, 2)
            key_b, value_b = key[:, :seen], value[:, :seen]
            shape = (*grouped[:2], block.stop - start, seen)
            weights = torch.bmm(query_b, key_b.transpose(1, 2)).float().view(shape)
            weights.mul_(ctx.scaling).sub_(lse[:, :, block]).exp_().tril_(seen - shape[2])
            slope = torch.bmm(grad_b, value_b.transpose(1, 2)).float().view(shape)
            slope.sub_(dot[:, :, block]).mul_(weights).mul_(ctx.scaling)
            weights_b, slope_b = (t.to(query.dtype).flatten(1, 2) for t in (weights, slope))
            grad_value[:, :seen] += torch.bmm(weights_b.transpose(1, 2), grad_b)
            grad_key[:, :seen] += torch.bmm(slope_b.transpose(1, 2), query_b)
            grad_query[:, :, block] = torch.bmm(slope_b, key_b).view(*shape[:3], width)
        return (
            grad_query.view_as(query_BHQK),
            grad_key.to(key.dtype).view_as(key_BGTK),
            grad_value.to(value.dtype).view_as(value_BGTK),
            None,
            None,
        )
