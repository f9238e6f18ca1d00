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
_FLASH: Final = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


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
    _biases: dict[int | None, tuple[Tensor | None, Tensor | None]] = field(default_factory=dict)

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
        self._biases.clear()

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

    def biases(self, query_BHQK: Tensor, window: int | None) -> tuple[Tensor | None, Tensor | None]:
        """Return what hides shared and own slots from each query, (B, 1, Q, slots); None where it sees all.

        All layers of a pass that see equally far share one pair.
        """
        if window not in self._biases:
            num_queries, dtype = query_BHQK.shape[2], query_BHQK.dtype
            shared, own = self._shared_mask(num_queries, window), self._own_mask(num_queries, window)
            self._biases[window] = (hide(shared, dtype), hide(own, dtype))
        return self._biases[window]

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
    biases: tuple[Tensor | None, Tensor | None],
    *,
    scaling: float,
) -> Tensor:
    """Attend to the shared beginning and to the own tokens, one softmax over both.

    Args:
        query_BHQK: Queries.
        own: Keys and values of each row's own slots, (B, G, S, K).
        shared: Keys and values of the beginning, (1, G, P, K), or None.
        biases: What is added to the scores of shared and own slots, see :func:`hide`; None sees all.
        scaling: Factor on the dot products.

    Returns:
        Outputs, (B, Q, H, K).

    Shapes:
        See the module; H is a multiple of G, and head h reads key-value head h // (H / G).
    """
    num_rows, num_heads, num_queries, width = query_BHQK.shape
    own_BHQK, own_lse_BHQ = _attend(query_BHQK, *own, biases[1], scaling)
    if shared is None:
        return own_BHQK.transpose(1, 2)
    query_1HXK = query_BHQK.transpose(0, 1).reshape(1, num_heads, -1, width)
    bias_11XP = None if biases[0] is None else biases[0].reshape(1, 1, num_rows * num_queries, -1)
    flat_1HXK, flat_lse_1HX = _attend(query_1HXK, *shared, bias_11XP, scaling)
    shared_BHQK = flat_1HXK.view(num_heads, num_rows, num_queries, -1).transpose(0, 1)
    shared_lse_BHQ = flat_lse_1HX.view(num_heads, num_rows, num_queries).transpose(0, 1)
    share_BHQ1 = torch.sigmoid(shared_lse_BHQ - own_lse_BHQ).to(own_BHQK.dtype).unsqueeze(-1)
    return torch.lerp(own_BHQK, shared_BHQK, share_BHQ1).transpose(1, 2)


def hide(seen: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """Return what is added to scores so that a softmax leaves out what is not seen; None where all is.

    It is finite: a query that sees nothing, which is padding, must not put NaN into the cache.
    """
    if seen is None:
        return None
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, torch.finfo(dtype).min / 2)


def _attend(
    query_BHQK: Tensor, key_BGSK: Tensor, value_BGSK: Tensor, bias_B1QS: Tensor | None, scaling: float
) -> tuple[Tensor, Tensor]:
    """Return outputs (B, H, Q, K) and each query's log-sum-exp (B, H, Q)."""
    num_rows, num_heads, num_queries, width = query_BHQK.shape
    num_groups = key_BGSK.shape[1]
    if num_queries == 1 or bias_B1QS is None:  # heads that read one key stand beside each other as its queries
        query_BHQK = query_BHQK.reshape(num_rows, num_groups, -1, width)
    if query_BHQK.device.type == "cpu" and width == value_BGSK.shape[-1]:
        output, lse = _FLASH(query_BHQK, key_BGSK, value_BGSK, 0.0, False, attn_mask=bias_B1QS, scale=scaling)
    else:
        output, lse = _attend_plainly(query_BHQK, key_BGSK, value_BGSK, bias_B1QS, scaling)
    return output.reshape(num_rows, num_heads, num_queries, -1), lse.reshape(num_rows, num_heads, num_queries)


def _attend_plainly(
    query_BHQK: Tensor, key_BGSK: Tensor, value_BGSK: Tensor, bias_B1QS: Tensor | None, scaling: float
) -> tuple[Tensor, Tensor]:
    num_repeats = query_BHQK.shape[1] // key_BGSK.shape[1]
    key_BHSK, value_BHSK = (t.repeat_interleave(num_repeats, dim=1) for t in (key_BGSK, value_BGSK))
    dtype = torch.float64 if query_BHQK.dtype == torch.float64 else torch.float32
    scores_BHQS = (query_BHQK * scaling @ key_BHSK.transpose(2, 3)).to(dtype)
    if bias_B1QS is not None:
        scores_BHQS = scores_BHQS + bias_B1QS
    lse_BHQ = scores_BHQS.logsumexp(dim=-1)
    weights_BHQS = (scores_BHQS - lse_BHQ.unsqueeze(-1)).exp().to(value_BGSK.dtype)
    return weights_BHQS @ value_BHSK, lse_BHQ


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
    biases = cache.biases(query, sliding_window)
    factor = query.shape[-1] ** -0.5 if scaling is None else scaling
    return attend_cached(query, own, shared, biases, scaling=factor), None


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
