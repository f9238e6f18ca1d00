"""Attention layers of the plain form in fewer passes, and in the last block for the queries that somebody reads.

Rotary positions are one function that reads queries and keys once and hands them on in the precision of products;
transformers' own code takes six passes in float32. Where the loss looks at few positions, the last block's queries
end at each segment's first wanted position and what comes before is never asked. A layer whose form is another keeps
its own forward pass, and so does every call without segments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn

from luthier.instruments.engine.attention import FOREST_KEY, attend_forest
from luthier.instruments.engine.kernels.calls import can_rotate, load_kernels
from luthier.instruments.engine.segments import Forest
from luthier.instruments.engine.tiles import count_filler, fill

PROJECTIONS: Final = ("q_proj", "k_proj", "v_proj", "o_proj")
NUMBERS: Final = ("head_dim", "scaling", "num_key_value_groups")
QUERIES_KEY: Final = "luthier_queries"


def fuse_attention(decoder: nn.Module, config: Any) -> list[Any]:  # noqa: ANN401  transformers' configuration
    """Replace the forward pass of attention layers of the plain form; the caller proves them.

    Args:
        decoder: The model without its head; changed in place.
        config: Its configuration; layers that see a window keep their own forward pass.

    Returns:
        The layers whose ``forward`` was replaced.
    """
    if getattr(config, "sliding_window", None) is not None:
        return []
    layers = [module for module in decoder.modules() if _is_plain(module)]
    for layer in layers:
        layer.forward = partial(_forward, layer, layer.forward)
    return layers


def _is_plain(module: nn.Module) -> bool:
    names = sorted(name for name, _ in module.named_children())
    has_form = names == sorted(PROJECTIONS) and all(hasattr(module, name) for name in NUMBERS)
    return has_form and "forward" not in vars(module)


def _forward(layer: Any, plain: Callable[..., Any], hidden_states: Tensor, **options: Any) -> Any:  # noqa: ANN401
    """Do what transformers' attention layer does, over segments.

    Shapes:
        (1, N, D) in and out; (1, Q, D) out for Q queries in ``luthier_queries``.
    """
    forest, positions = options.get(FOREST_KEY), options.get("position_embeddings")
    if not isinstance(forest, Forest) or positions is None or options.get("past_key_values") is not None:
        return plain(hidden_states, **options)
    asked: Queries | None = options.get(QUERIES_KEY)
    cos_1NK, sin_1NK = positions
    key = rotate(_heads(layer.k_proj(hidden_states), layer.head_dim), cos_1NK, sin_1NK)
    value = _heads(layer.v_proj(hidden_states), layer.head_dim).transpose(1, 2)
    if asked is not None:
        hidden_states, cos_1NK, sin_1NK = (asked.pick(t) for t in (hidden_states, *positions))
    query = rotate(_heads(layer.q_proj(hidden_states), layer.head_dim), cos_1NK, sin_1NK)
    forest = forest if asked is None else replace(forest, num_queries=asked.lengths)
    output = attend_forest(query, key, value, forest, scaling=layer.scaling)
    return layer.o_proj(output.transpose(1, 2).flatten(2)), None


def takes_queries(layer: nn.Module) -> bool:
    """Say whether a layer may be asked for some queries only."""
    forward = vars(layer).get("forward")
    return isinstance(forward, partial) and forward.func is _forward


def _heads(projected_1NX: Tensor, width: int) -> Tensor:
    return projected_1NX.view(*projected_1NX.shape[:-1], -1, width)


class Queries:
    """Which queries the last block is asked for: of each segment, from its first wanted position to its end."""

    def __init__(self, forest: Forest, wanted_M: Tensor) -> None:
        """Find the queries.

        Args:
            forest: How the stream is cut.
            wanted_M: Positions of the stream whose states are wanted, in any order, repeated or not.
        """
        wanted = torch.zeros(forest.num_tokens + 1, dtype=torch.bool)
        wanted[wanted_M.cpu()] = True
        lengths = [_count_from_first(wanted[start:end]) for start, end in zip(forest.starts, forest.ends, strict=True)]
        for family in forest.families:  # computed in one call, so alike
            longest = max(lengths[index] for index in family)
            for index in family:
                lengths[index] = longest
        self.lengths = tuple(lengths)
        """Queries of each segment: its last ones."""
        spans = [torch.arange(end - length, end) for end, length in zip(forest.ends, lengths, strict=True)]
        positions_Q = torch.cat(spans)
        self.positions_Q = positions_Q.to(wanted_M.device)
        """Their positions in the stream, ascending."""
        self.wanted_M = torch.searchsorted(positions_Q, wanted_M.cpu()).to(wanted_M.device)
        """Where each wanted position stands among them."""

    def pick(self, stream: Tensor) -> Tensor:
        """Return the queries' part of a stream (1, N, X), filled up where its product wants it."""
        picked = stream.index_select(1, self.positions_Q)
        return fill(picked, count_filler(len(self.positions_Q), stream), dim=1)


def _count_from_first(is_wanted_T: Tensor) -> int:
    found = is_wanted_T.nonzero()
    return len(is_wanted_T) - int(found[0]) if len(found) else 0


def rotate(heads_1NHK: Tensor, cos_1NK: Tensor, sin_1NK: Tensor) -> Tensor:
    """Turn queries or keys by their positions: the two halves of a head are the two axes of a plane.

    Args:
        heads_1NHK: Queries or keys.
        cos_1NK: Cosines, both halves alike.
        sin_1NK: Sines, both halves alike.

    Returns:
        The same in the precision of the input, computed in that of the angles.

    Shapes:
        N tokens, H heads, K head width; the result is (1, H, N, K).

    Source:
        RoFormer, arXiv:2104.09864, section 3.4.
    """
    output_1HNK: Tensor = _Rotation.apply(heads_1NHK, cos_1NK, sin_1NK)  # type: ignore[no-untyped-call]
    return output_1HNK


class _Rotation(torch.autograd.Function):
    """A rotation keeps its angles only; its backward pass is the rotation the other way round."""

    @staticmethod
    def forward(ctx: Any, heads_1NHK: Tensor, cos_1NK: Tensor, sin_1NK: Tensor) -> Tensor:  # noqa: ANN401
        half = heads_1NHK.shape[-1] // 2
        cos, sin = (angles[..., None, :half] for angles in (cos_1NK, sin_1NK))
        ctx.save_for_backward(cos, sin)
        num_rows, num_tokens, num_heads, width = heads_1NHK.shape
        output_1HNK = heads_1NHK.new_empty(num_rows, num_heads, num_tokens, width)
        _turn(heads_1NHK, cos, sin, output_1HNK.transpose(1, 2), sense=1.0)
        return output_1HNK

    @staticmethod
    def backward(ctx: Any, grad_1HNK: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401  autograd's context
        cos, sin = ctx.saved_tensors
        grad_1NHK = grad_1HNK.transpose(1, 2)
        output_1NHK = torch.empty(grad_1NHK.shape, dtype=grad_1NHK.dtype, device=grad_1NHK.device)
        _turn(grad_1NHK, cos, sin, output_1NHK, sense=-1.0)
        return output_1NHK, None, None


def _turn(heads: Tensor, cos: Tensor, sin: Tensor, output: Tensor, *, sense: float) -> None:
    """Write the turned heads; the sense is 1 forwards and -1 back."""
    kernels = load_kernels() if can_rotate(heads, cos, sin) else None
    if kernels is not None:
        kernels.rotate(heads, cos, sin, output, sense=sense)
        return
    low, high = heads.to(cos.dtype).chunk(2, -1)
    into_low, into_high = output.chunk(2, -1)
    into_low.copy_((low * cos).addcmul_(high, sin, value=-sense))
    into_high.copy_((high * cos).addcmul_(low, sin, value=sense))
