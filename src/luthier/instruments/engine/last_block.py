"""Run the last block only where the loss looks: its queries and its feed-forward part.

What a token becomes in the last block is read by nobody but the head; other tokens read its key and value alone. So
where no target is predicted the rest need not be computed: in a shallow model with a quarter of its tokens trained, a
twelfth of all products.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from torch import Tensor, nn

from luthier.instruments.engine.attention import FOREST_KEY
from luthier.instruments.engine.fused_attention import QUERIES_KEY, Queries, takes_queries
from luthier.instruments.engine.segments import Forest
from luthier.instruments.engine.tiles import count_filler, fill

TARGETS_KEY: Final = "luthier_targets"
PARTS: Final = ("input_layernorm", "self_attn", "post_attention_layernorm", "mlp")


def trim_last_block(decoder: nn.Module) -> nn.Module | None:
    """Replace the forward pass of the last block where it has the plain form; the caller proves it.

    Args:
        decoder: The model without its head; changed in place.

    Returns:
        The block whose ``forward`` was replaced, None where its form is another.
    """
    layers = getattr(decoder, "layers", None)
    if not isinstance(layers, nn.ModuleList) or not len(layers):
        return None
    block = layers[-1]
    if "forward" in vars(block) or sorted(name for name, _ in block.named_children()) != sorted(PARTS):
        return None
    block.forward = partial(_forward, block)
    return block


def _forward(block: Any, hidden_states: Tensor, **options: Any) -> Tensor:  # noqa: ANN401  transformers' layer
    """Do what a pre-norm block does, for the positions asked for as soon as no other needs them.

    Shapes:
        (1, N, D) in; (1, M, D) out for M positions in ``luthier_targets``, else (1, N, D).
    """
    wanted_M = options.pop(TARGETS_KEY, None)
    residual = hidden_states
    forest = options.get(FOREST_KEY)  # None where rows run one by one
    if wanted_M is not None and isinstance(forest, Forest) and takes_queries(block.self_attn):
        queries = options[QUERIES_KEY] = Queries(forest, wanted_M)
        residual, wanted_M = queries.pick(residual), queries.wanted_M
    attended, _ = block.self_attn(hidden_states=block.input_layernorm(hidden_states), **options)
    hidden = residual + attended
    if wanted_M is None:
        return _feed_forward(block, hidden)
    hidden = hidden.index_select(1, wanted_M)
    return _feed_forward(block, fill(hidden, count_filler(len(wanted_M), hidden), dim=1))[:, : len(wanted_M)]


def _feed_forward(block: Any, hidden: Tensor) -> Tensor:  # noqa: ANN401  transformers' layer
    output: Tensor = hidden + block.mlp(block.post_attention_layernorm(hidden))
    return output
