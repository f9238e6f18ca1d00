"""Causal attention on a CPU in batched products over blocks of queries, weights kept for the backward pass.

torch's own kernel for this case computes tiles so small that it reaches a third of what batched products reach, and
its backward pass less (torch 2.13, AVX-512, rows of 100 to 600 tokens, head width 64). Here a block of queries meets
all keys that it can see in one product. Scores and softmax are float32 in any precision; weights are kept in that of
the inputs for rows of up to :data:`KEEP_KEYS` keys, and computed again in the backward pass for longer ones, where
keeping them would cost more memory than everything else. In bfloat16 weights come from a kernel of our own where there
is one, which sums products in float32 and holds the scores of a few queries at a time.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Final

import torch
from torch import Tensor

from luthier.instruments.engine.kernels.build import TILE_KEYS, TILE_QUERIES
from luthier.instruments.engine.kernels.calls import find_kernels
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
        that of queries and keys with float32 sums.
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
        self.query_XRQK, self.key_XTK, self.scaling = query_BHQK.reshape(self.grouped), key_BGTK.flatten(0, 1), scaling
        if query_BHQK.dtype == torch.bfloat16:  # so that a row's numbers do not depend on what lies beside it
            self.query_XRQK, self.key_XTK = self.query_XRQK.contiguous(), self.key_XTK.contiguous()
        is_tiled = not (self.num_queries % TILE_QUERIES or self.num_keys % TILE_KEYS or self.width % 2)
        self.kernels = find_kernels(narrow=(self.query_XRQK, self.key_XTK)) if is_tiled else None

    @cached_property
    def packed_XTK(self) -> Tensor:
        """The keys, as the kernel multiplies them."""
        return self.key_XTK if self.kernels is None else self.kernels.pack_keys(self.key_XTK)

    @cached_property
    def wide(self) -> tuple[Tensor, Tensor]:
        """Scaled queries and transposed keys in float32, for torch to multiply."""
        return self.query_XRQK.float() * self.scaling, self.key_XTK.float().transpose(1, 2)

    def bounds(self) -> list[tuple[slice, int]]:
        """List each block's queries and how many keys they meet, the last first: it meets all."""
        starts = reversed(range(0, self.num_queries, BLOCK_QUERIES))
        blocks = [slice(start, min(start + BLOCK_QUERIES, self.num_queries)) for start in starts]
        seen = [self.num_before + block.stop for block in blocks]
        return [(block, num + self._count_filler(num)) for block, num in zip(blocks, seen, strict=True)]

    def _count_filler(self, num_keys: int) -> int:
        return count_filler(num_keys, self.like) if self.kernels is None else -num_keys % TILE_KEYS

    def weigh(self, block: slice, seen: int, dtype: torch.dtype) -> Tensor:
        """Return the block's attention weights, (X, R n, seen)."""
        if self.kernels is not None:
            query_XRQK, key_XTK, before = self.query_XRQK, self.packed_XTK, self.num_before
            weights = self.kernels.weigh(query_XRQK, key_XTK, block, seen=seen, num_before=before, scaling=self.scaling)
            return weights.flatten(1, 2)
        num, first = block.stop - block.start, self.num_before + block.start
        query_XRQK, key_XKT = self.wide
        with torch.autocast("cpu", enabled=False):  # it would round the scores
            scores = torch.bmm(query_XRQK[:, :, block].flatten(1, 2), key_XKT[..., :seen])
        scores = scores.view(*self.grouped[:2], num, seen)
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
        grad_key = grad_value = torch.empty(0)  # the first block's, which meets all keys
        for number, (block, seen) in enumerate(blocks.bounds()):
            query_b, grad_b = query[:, :, block].flatten(1, 2), grad[:, :, block].flatten(1, 2)
            weights = kept[number] if kept else blocks.weigh(block, seen, dtype)
            slope = torch.bmm(grad_b, value[:, :seen].transpose(1, 2))
            slope = torch._softmax_backward_data(slope, weights, -1, dtype)
            to_value, to_key = torch.bmm(weights.transpose(1, 2), grad_b), torch.bmm(slope.transpose(1, 2), query_b)
            if number:
                grad_value[:, :seen] += to_value
                grad_key[:, :seen] += to_key
            else:
                grad_value, grad_key = to_value.float(), to_key.float()
            grad_query[:, :, block] = torch.bmm(slope, key[:, :seen]).view(grad_query[:, :, block].shape)
        return (
            grad_query.mul_(ctx.scaling).view_as(query_BHQK),
            grad_key.mul_(ctx.scaling).to(dtype).view_as(key_BGTK),
            grad_value.to(dtype).view_as(value_BGTK),
            None,
            None,
        )
