"""Keys and values of rows that come and go between steps.

A row's token number t lies in its slot t. Nothing has to be aligned: a new row is copied in behind the others, one that
leaves gives its place to the last, and what lies behind a row's length is rubbish that no query sees. The decode step
of all rows is one pass, whatever their lengths.

Shape suffixes: B rows, H heads, G key-value heads, Q queries, S slots, K head width.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

from luthier.instruments.engine.runtimes.torch_batched.cache import hide

SPARE_SLOTS: Final = 64
GROWTH: Final = 1.5


@dataclass(eq=False)
class LiveCache:
    """Keys and values by layer, and how many tokens each row has.

    Attributes:
        device: Where it lies.
        lengths: Tokens of each row.
        layers: Keys and values, (capacity for rows, G, capacity for slots, K).
        prefix: None: rows share no beginning.
    """

    device: torch.device
    lengths: list[int] = field(default_factory=list)
    layers: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    prefix: None = None
    _num_queries: int = 0
    _starts_B: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    _biases: dict[int | None, tuple[None, Tensor | None]] = field(default_factory=dict)

    @property
    def num_shared(self) -> int:
        """Tokens of a shared beginning: none."""
        return 0

    def begin(self, num_queries: int) -> Tensor:
        """Announce a pass over the next tokens of every row.

        Returns:
            Their positions, (B, Q).
        """
        self._num_queries = num_queries
        self._starts_B = torch.tensor(self.lengths, device=self.device)
        self._biases.clear()
        return self._starts_B[:, None] + torch.arange(num_queries, device=self.device)

    def end(self) -> None:
        """Count the pass's tokens as filled."""
        self.lengths = [length + self._num_queries for length in self.lengths]

    def write(self, layer: int, key_BGQK: Tensor, value_BGQK: Tensor) -> tuple[Tensor, Tensor]:
        """Put the pass's keys and values into their slots and return all up to the longest row's end."""
        num_rows, _, num_queries, _ = key_BGQK.shape
        end = max(self.lengths) + num_queries
        self._reserve(layer, key_BGQK, value_BGQK, num_rows=num_rows, num_slots=end)
        rows_B = torch.arange(num_rows, device=self.device)
        for tensor_BGSK, new_BGQK in zip(self.layers[layer], (key_BGQK, value_BGQK), strict=True):
            if num_queries == 1:
                tensor_BGSK[rows_B, :, self._starts_B] = new_BGQK[:, :, 0]
            else:
                for row, start in enumerate(self.lengths):
                    tensor_BGSK[row, :, start : start + num_queries] = new_BGQK[row]
        keys_BGSK, values_BGSK = self.layers[layer]
        return keys_BGSK[:num_rows, :, :end], values_BGSK[:num_rows, :, :end]

    def biases(self, query_BHQK: Tensor, window: int | None) -> tuple[None, Tensor | None]:
        """Return what hides slots from each query, (B, 1, Q, S); None where it sees all."""
        if window not in self._biases:
            self._biases[window] = (None, hide(self._mask(window), query_BHQK.dtype))
        return self._biases[window]

    def _mask(self, window: int | None) -> Tensor | None:
        end = max(self.lengths) + self._num_queries
        is_windowed = window is not None and end > window
        if self._num_queries == 1 and not is_windowed and len(set(self.lengths)) == 1:
            return None
        positions_BQ = self._starts_B[:, None] + torch.arange(self._num_queries, device=self.device)
        distance_B1QS = (positions_BQ[:, :, None] - torch.arange(end, device=self.device))[:, None]
        seen_B1QS = distance_B1QS >= 0
        return seen_B1QS & (distance_B1QS < window) if is_windowed and window is not None else seen_B1QS

    def add(self, source: LiveCache, row: int, length: int) -> None:
        """Copy the beginning of another cache's row in behind the others."""
        place = len(self.lengths)
        self.lengths.append(length)
        for layer, tensors in source.layers.items():
            self._reserve(layer, *tensors, num_rows=place + 1, num_slots=max(self.lengths))
            for own, other in zip(self.layers[layer], tensors, strict=True):
                own[place, :, :length] = other[row, :, :length]

    def drop(self, place: int) -> None:
        """Forget a row; the last takes its place."""
        last = len(self.lengths) - 1
        length = self.lengths.pop()
        if place != last:
            self.lengths[place] = length
            for tensors in self.layers.values():
                for tensor_BGSK in tensors:
                    tensor_BGSK[place, :, :length] = tensor_BGSK[last, :, :length]
        if not self.lengths:
            self.layers.clear()

    def _reserve(self, layer: int, like_key: Tensor, like_value: Tensor, *, num_rows: int, num_slots: int) -> None:
        """Make room for rows and slots; a little more than asked, so that growing is rare."""
        old = self.layers.get(layer)
        rows, slots = (old[0].shape[0], old[0].shape[2]) if old else (0, 0)
        if num_rows <= rows and num_slots <= slots:
            return
        rows = rows if num_rows <= rows else max(num_rows, int(rows * GROWTH))
        slots = slots if num_slots <= slots else max(num_slots + SPARE_SLOTS, int(slots * GROWTH))
        # Zeros, for memory as it comes may hold NaN, and what is hidden is weighed with nought, not left out.
        made = tuple(like.new_zeros((rows, like.shape[1], slots, like.shape[3])) for like in (like_key, like_value))
        for new, before in zip(made, old or (), strict=False):
            new[: before.shape[0], :, : before.shape[2]] = before
        self.layers[layer] = (made[0], made[1])
