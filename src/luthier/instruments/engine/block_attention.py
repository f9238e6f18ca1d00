"""Causal attention on a CPU in batched products over blocks of queries, weights kept for the backward pass.

torch's own kernel for this case computes tiles so small that it reaches a third of what batched products reach, and
its backward pass less (torch 2.13, AVX-512, rows of 100 to 600 tokens, head width 64). Here a block of queries meets
all keys that it can see in one product. Scores and softmax are float32 in any precision; weights are kept in that of
the inputs for rows of up to :data:`KEEP_KEYS` keys, and computed again in the backward pass for longer ones, where
keeping them would cost more memory than everything else.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor

from luthier.instruments.engine.tiles import count_filler, fill

BLOCK_QUERIES: Final = 128
KEEP_KEYS: Final = 768
DTYPES: Final = frozenset({torch.float32, torch.bfloat16})


def attend_blocks(query_BHQK: Tensor, key_BGTK: Tensor, value_BGTK: Tensor, *, scaling: float) -> Tensor:
    """Attend causally; the queries are the last Q of the T positions.

    Args:
        query_BHQK: Queries.
        key_BGTK: Keys, with fewer heads where heads are grouped.
        value_BGTK: Values.
        scaling: Factor on the dot products.

    Returns:
        Outputs like the queries.

    Shapes:
        B rows, H query heads, G key-value heads, Q queries, T >= Q keys, K head width.

    Numerics:
        Scores, softmax and the sums of key and value gradients are float32; products run in the inputs' precision,
        except that of queries and keys, which is float32.
    """
    num_copies = query_BHQK.shape[1] // key_BGTK.shape[1]
    if num_copies > 1 and query_BHQK.dtype == torch.float32:  # one product a head is faster than one a group
        key_BGTK, value_BGTK = (t.repeat_interleave(num_copies, dim=1) for t in (key_BGTK, value_BGTK))
    num_queries, num_before = query_BHQK.shape[2], key_BGTK.shape[2] - query_BHQK.shape[2]
    filled = [fill(query_BHQK, count_filler(num_queries, query_BHQK), dim=2)]  # later than every query: seen by none
    num_keys = num_before + filled[0].shape[2]
    num_filler = num_keys - key_BGTK.shape[2] + count_filler(num_keys, key_BGTK)
    filled += [fill(t_BGTK, num_filler, dim=2) for t_BGTK in (key_BGTK, value_BGTK)]
    output_BHQK: Tensor = _BlockAttention.apply(*filled, num_before, scaling)  # type: ignore[no-untyped-call]
    return output_BHQK[:, :, :num_queries]


class _Blocks:
    """The blocks of one call: heads of one key beside each other, X = B G of them."""

    def __init__(self, query_BHQK: Tensor, key_BGTK: Tensor, num_before: int, scaling: float) -> None:
        num_rows, num_heads, self.num_queries, self.width = query_BHQK.shape
        num_groups, self.num_keys = key_BGTK.shape[1:3]
        self.num_before, self.like = num_before, query_BHQK
        self.grouped = (num_rows * num_groups, num_heads // num_groups, self.num_queries, self.width)
        self.scaled_XRQK = query_BHQK.reshape(self.grouped).float() * scaling
        self.key_XTK = key_BGTK.flatten(0, 1).float()

    def bounds(self) -> list[tuple[slice, int]]:
        """List each block's queries and how many keys they meet."""
        starts = range(0, self.num_queries, BLOCK_QUERIES)
        blocks = [slice(start, min(start + BLOCK_QUERIES, self.num_queries)) for start in starts]
        seen = [self.num_before + block.stop for block in blocks]
        return [(block, num + count_filler(num, self.like)) for block, num in zip(blocks, seen, strict=True)]

    def weigh(self, block: slice, seen: int, dtype: torch.dtype) -> Tensor:
        """Return the block's attention weights, (X, R n, seen)."""
        num = block.stop - block.start
        query = self.scaled_XRQK[:, :, block].flatten(1, 2)
        scores = torch.bmm(query, self.key_XTK[:, :seen].transpose(1, 2)).view(*self.grouped[:2], num, seen)
        first = self.num_before + block.start
        scores[..., first:].add_(torch.full((num, seen - first), float("-inf")).triu_(1))
        return torch.softmax(scores, -1).to(dtype).flatten(1, 2)


class _BlockAttention(torch.autograd.Function):
    """Softmax attention; see the module's text."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401  autograd's context
        query_BHQK: Tensor,
        key_BGTK: Tensor,
        value_BGTK: Tensor,
        num_before: int,
        scaling: float,
    ) -> Tensor:
        blocks = _Blocks(query_BHQK, key_BGTK, num_before, scaling)
        value = value_BGTK.flatten(0, 1)
        output = torch.empty(blocks.grouped, dtype=query_BHQK.dtype)
        kept = []
        for block, seen in blocks.bounds():
            weights = blocks.weigh(block, seen, query_BHQK.dtype)
            output[:, :, block] = torch.bmm(weights, value[:, :seen]).view(output[:, :, block].shape)
            if blocks.num_keys <= KEEP_KEYS:
                kept.append(weights)
        ctx.num_before, ctx.scaling = num_before, scaling
        ctx.save_for_backward(query_BHQK, key_BGTK, value_BGTK, *kept)
        return output.view_as(query_BHQK)

    @staticmethod
    def backward(ctx: Any, grad_BHQK: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401  autograd's context
        query_BHQK, key_BGTK, value_BGTK, *kept = ctx.saved_tensors
        dtype, blocks = query_BHQK.dtype, _Blocks(query_BHQK, key_BGTK, ctx.num_before, ctx.scaling)
        query, grad = query_BHQK.reshape(blocks.grouped), grad_BHQK.reshape(blocks.grouped)
        key, value = key_BGTK.flatten(0, 1), value_BGTK.flatten(0, 1)
        grad_query = torch.empty_like(query)
        grad_key, grad_value = (torch.zeros(key.shape, dtype=torch.float32) for _ in range(2))
        for number, (block, seen) in enumerate(blocks.bounds()):
            query_b, grad_b = query[:, :, block].flatten(1, 2), grad[:, :, block].flatten(1, 2)
            weights = kept[number] if kept else blocks.weigh(block, seen, dtype)
            slope = torch.bmm(grad_b, value[:, :seen].transpose(1, 2))
            slope = torch._softmax_backward_data(slope, weights, -1, dtype)
            grad_value[:, :seen] += torch.bmm(weights.transpose(1, 2), grad_b)
            grad_key[:, :seen] += torch.bmm(slope.transpose(1, 2), query_b)
            grad_query[:, :, block] = torch.bmm(slope, key[:, :seen]).view(grad_query[:, :, block].shape)
        return (
            grad_query.mul_(ctx.scaling).view_as(query_BHQK),
            grad_key.mul_(ctx.scaling).to(dtype).view_as(key_BGTK),
            grad_value.to(dtype).view_as(value_BGTK),
            None,
            None,
        )
