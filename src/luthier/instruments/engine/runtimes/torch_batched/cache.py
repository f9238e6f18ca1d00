"""The key-value cache and its attention: a shared beginning held once, and each row's own tokens behind it.

Rows of a batch are aligned on the right, so all write to the same slot; which slots a row may see follows from its
positions, not from the slot's number, so padding never moves a token and sliding windows stay exact. The keys of the
shared beginning exist once: all rows' queries meet them in one matrix product.

Shape suffixes: B rows, H heads, G key-value heads, Q queries, P shared slots, S own slots, K head width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from luthier.instruments.engine.load import LoadedModel

ATTENTION_NAME: Final = "luthier_decode"
CACHE_KEY: Final = "luthier_decode"


@dataclass(eq=False)
class DecodeCache:
    """Keys and values of one batch.

    Attributes:
        num_slots: Own slots that exist.
        prefix: The cache of the shared beginning; its own slots are this cache's shared ones.
        num_filled: Own slots filled before the current pass.
        positions_BS: Position of the token in each own slot; -1 where the slot is padding.
        layers: Own keys and values by layer, made at the first pass.
    """

    num_slots: int
    positions_BS: Tensor
    prefix: DecodeCache | None = None
    num_filled: int = 0
    layers: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    _masks: dict[int | None, tuple[Tensor | None, Tensor | None]] = field(default_factory=dict)

    @classmethod
    def empty(
        cls, num_rows: int, num_slots: int, device: torch.device, prefix: DecodeCache | None = None
    ) -> DecodeCache:
        """Make a cache with nothing in it."""
        return cls(num_slots, torch.full((num_rows, num_slots), -1, device=device), prefix)

    @property
    def num_shared(self) -> int:
        """Tokens of the shared beginning."""
        return self.prefix.num_filled if self.prefix else 0

    def write(self, layer: int, key_BGQK: Tensor, value_BGQK: Tensor) -> tuple[Tensor, Tensor]:
        """Put the pass's keys and values into their slots and return all own ones up to them."""
        if layer not in self.layers:
            num_rows, num_heads, _, width = key_BGQK.shape
            shape = (num_rows, num_heads, self.num_slots, width)
            self.layers[layer] = (key_BGQK.new_empty(shape), value_BGQK.new_empty((*shape[:3], value_BGQK.shape[-1])))
        end = self.num_filled + key_BGQK.shape[2]
        keys_BGSK, values_BGSK = self.layers[layer]
        keys_BGSK[:, :, self.num_filled : end] = key_BGQK
        values_BGSK[:, :, self.num_filled : end] = value_BGQK
        return keys_BGSK[:, :, :end], values_BGSK[:, :, :end]

    def begin(self, positions_BQ: Tensor) -> None:
        """Announce a pass over new tokens; position -1 is padding."""
        self.positions_BS[:, self.num_filled : self.num_filled + positions_BQ.shape[1]] = positions_BQ
        self._masks.clear()

    def end(self, num_tokens: int) -> None:
        """Count a pass's tokens as filled."""
        self.num_filled += num_tokens

    def keep(self, rows_B: Tensor) -> None:
        """Forget all rows but these."""
        self.positions_BS = self.positions_BS[rows_B]
        filled = self.num_filled
        for layer, tensors in self.layers.items():
            kept = tuple(
                torch.empty((len(rows_B), *old.shape[1:]), dtype=old.dtype, device=old.device) for old in tensors
            )
            for new, old in zip(kept, tensors, strict=True):
                new[:, :, :filled] = old[rows_B, :, :filled]
            self.layers[layer] = (kept[0], kept[1])

    def masks(self, num_queries: int, window: int | None) -> tuple[Tensor | None, Tensor | None]:
        """Return which shared and own slots each query may see, (B, 1, Q, slots); None where it sees all."""
        if window not in self._masks:
            self._masks[window] = (self._shared_mask(num_queries, window), self._own_mask(num_queries, window))
        return self._masks[window]

    def _shared_mask(self, num_queries: int, window: int | None) -> Tensor | None:
        end = self.num_filled + num_queries
        if self.prefix is None or window is None or self.num_shared + end <= window:
            return None
        queries_BQ = self.positions_BS[:, self.num_filled : end]
        shared_P = torch.arange(self.num_shared, device=queries_BQ.device)
        return (queries_BQ[:, None, :, None] - shared_P) < window

    def _own_mask(self, num_queries: int, window: int | None) -> Tensor | None:
        end = self.num_filled + num_queries
        keys_BS = self.positions_BS[:, :end]
        is_windowed = window is not None and self.num_shared + end > window
        if num_queries == 1 and not is_windowed and bool((keys_BS >= 0).all()):
            return None
        queries_BQ = self.positions_BS[:, self.num_filled : end]
        distance_B1QS = queries_BQ[:, None, :, None] - keys_BS[:, None, None, :]
        seen_B1QS = (distance_B1QS >= 0) & (keys_BS >= 0)[:, None, None, :]
        return seen_B1QS & (distance_B1QS < window) if is_windowed and window is not None else seen_B1QS


def attend_cached(
    query_BHQK: Tensor,
    own: tuple[Tensor, Tensor],
    shared: tuple[Tensor, Tensor] | None,
    masks: tuple[Tensor | None, Tensor | None],
    *,
    scaling: float,
) -> Tensor:
    """Attend to the shared beginning and to the own tokens, one softmax over both.

    Args:
        query_BHQK: Queries.
        own: Keys and values of each row's own slots, (B, G, S, K).
        shared: Keys and values of the beginning, (1, G, P, K), or None.
        masks: Which shared and own slots are seen; None sees all.
        scaling: Factor on the dot products.

    Returns:
        Outputs, (B, Q, H, K).

    Shapes:
        See the module; H is a multiple of G, and head h reads key-value head h // (H / G).
    """
    num_rows, num_heads, num_queries, width = query_BHQK.shape
    keys_BGSK, values_BGSK = own
    num_groups = keys_BGSK.shape[1]
    grouped = (num_rows, num_groups, num_heads // num_groups * num_queries, width)
    query_BGXK = query_BHQK.reshape(grouped) * scaling
    scores_BHQS = (query_BGXK @ keys_BGSK.transpose(2, 3)).view(num_rows, num_heads, num_queries, -1)
    scores_BHQS = _hide(scores_BHQS, masks[1])
    if shared is None:
        weights_BHQS = _softmax(scores_BHQS).to(values_BGSK.dtype)
        output_BGXK = weights_BHQS.view(*grouped[:3], -1) @ values_BGSK
        return output_BGXK.reshape(num_rows, num_heads, num_queries, -1).transpose(1, 2)
    shared_keys_GPK, shared_values_GPK = shared[0][0], shared[1][0]
    query_GXK = query_BGXK.transpose(0, 1).reshape(num_groups, -1, width)
    scores_GXP = query_GXK @ shared_keys_GPK.transpose(1, 2)
    scores_BHQP = scores_GXP.view(num_groups, num_rows, -1, num_queries, scores_GXP.shape[-1]).transpose(0, 1)
    scores_BHQP = _hide(scores_BHQP.reshape(num_rows, num_heads, num_queries, -1), masks[0])
    weights = _softmax(torch.cat([scores_BHQP, scores_BHQS], dim=-1))
    num_shared = scores_BHQP.shape[-1]
    weights_BHQP, weights_BHQS = weights.to(values_BGSK.dtype).split([num_shared, scores_BHQS.shape[-1]], dim=-1)
    own_BGXK = weights_BHQS.reshape(*grouped[:3], -1) @ values_BGSK
    weights_GXP = weights_BHQP.reshape(*grouped[:3], -1).transpose(0, 1).reshape(num_groups, -1, num_shared)
    from_shared = (weights_GXP @ shared_values_GPK).view(num_groups, num_rows, grouped[2], -1).transpose(0, 1)
    both_BGXK: Tensor = own_BGXK + from_shared
    return both_BGXK.reshape(num_rows, num_heads, num_queries, -1).transpose(1, 2)


def _softmax(scores: Tensor) -> Tensor:
    dtype = torch.float64 if scores.dtype == torch.float64 else torch.float32
    return torch.softmax(scores, dim=-1, dtype=dtype)


def _hide(scores: Tensor, mask: Tensor | None) -> Tensor:
    return scores if mask is None else scores.masked_fill(~mask, torch.finfo(scores.dtype).min)


def _cached_attention(  # noqa: PLR0913  transformers' signature
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001  transformers' signature; the cache knows what is seen
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **options: Any,  # noqa: ANN401  transformers' signature
) -> tuple[Tensor, None]:
    """Answer transformers' attention interface: (B, H, Q, K) in, (B, Q, H, K) out."""
    cache: DecodeCache = options[CACHE_KEY]
    layer = int(getattr(module, "layer_idx"))  # noqa: B009  nn.Module types attributes as tensors
    own = cache.write(layer, key, value)
    shared = None
    if cache.prefix is not None:
        keys_1GPK, values_1GPK = cache.prefix.layers[layer]
        shared = (keys_1GPK[:, :, : cache.num_shared], values_1GPK[:, :, : cache.num_shared])
    masks = cache.masks(query.shape[2], sliding_window)
    factor = query.shape[-1] ** -0.5 if scaling is None else scaling
    return attend_cached(query, own, shared, masks, scaling=factor), None


@contextmanager
def cached_attention(loaded: LoadedModel) -> Iterator[None]:
    """Attend through :class:`DecodeCache` inside the context."""
    AttentionInterface.register(ATTENTION_NAME, _cached_attention)
    AttentionMaskInterface.register(ATTENTION_NAME, lambda *_args, **_options: None)
    before = loaded.config._attn_implementation
    loaded.config._attn_implementation = ATTENTION_NAME
    try:
        yield
    finally:
        loaded.config._attn_implementation = before


def run_pass(loaded: LoadedModel, cache: DecodeCache, ids_BQ: Tensor, positions_BQ: Tensor) -> Tensor:
    """Run the decoder over new tokens of every row and keep their keys and values.

    Args:
        loaded: The model, inside :func:`cached_attention`.
        cache: The batch's cache.
        ids_BQ: Tokens; any valid id where a position is -1.
        positions_BQ: Position of each in its prompt; -1 for padding.

    Returns:
        Hidden state of the last token of each row, (B, D).
    """
    cache.begin(positions_BQ)
    options: dict[str, Any] = {CACHE_KEY: cache}
    output = loaded.decoder(input_ids=ids_BQ, position_ids=positions_BQ.clamp_min(0), use_cache=False, **options)
    cache.end(ids_BQ.shape[1])
    hidden_BD: Tensor = output.last_hidden_state[:, -1]
    return hidden_BD
