"""Rows of one model on their way: a prompt becomes rows, a step gives every row its next logits.

``LiveDecoder`` computes all rows in one pass. ``PlainDecoder`` is for architectures whose layers do not attend through
transformers' interface: each row has the model's own cache and is computed alone.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, Protocol

import numpy as np
import torch
from torch import Tensor

from luthier.instruments.engine.load import LoadedModel
from luthier.instruments.engine.loss import compute_logits
from luthier.instruments.engine.method_protocol import SharedAdapters
from luthier.instruments.engine.runtimes.torch_batched.cache import CACHE_KEY, cached_attention
from luthier.instruments.engine.serving.live_cache import LiveCache
from luthier.instruments.engine.serving.recent import RecentPrompts

CHUNK_TOKENS: Final = 2048
"""Prompt tokens computed in one pass; bounds memory."""
RECENT_TOKENS: Final = 4096
"""About 190 MB of float32 for SmolLM2-135M."""


class RowDecoder(Protocol):
    """Rows under way, in the order in which they were added; dropping one moves the last into its place."""

    def add(self, prompts: Sequence[np.ndarray], keys: Sequence[str], copies: Sequence[int]) -> Tensor:
        """Compute prompts and add so many rows of each.

        Args:
            prompts: Token ids of each prompt, at least one.
            keys: Adapter of each, empty for the base.
            copies: Rows that each becomes.

        Returns:
            Logits of the next token of each prompt.

        Shapes:
            M prompts, V vocabulary; the result is (M, V).
        """
        ...

    def step(self, tokens: Sequence[int], keys: Sequence[str]) -> Tensor:
        """Append a token to each of the B rows and return the next logits, (B, V)."""
        ...

    def drop(self, place: int) -> None:
        """Forget a row; the last takes its place."""
        ...


def make_decoder(loaded: LoadedModel, adapters: SharedAdapters | None = None) -> RowDecoder:
    """Make the decoder that an architecture allows."""
    return LiveDecoder(loaded, adapters) if loaded.can_pack else PlainDecoder(loaded, adapters)


class LiveDecoder:
    """All rows in one pass."""

    def __init__(
        self, loaded: LoadedModel, adapters: SharedAdapters | None = None, *, recent_tokens: int = RECENT_TOKENS
    ) -> None:
        """Start without rows.

        Args:
            loaded: The model.
            adapters: What rows may choose from.
            recent_tokens: Tokens of earlier prompts that are kept for new ones that begin alike.
        """
        self._loaded = loaded
        self._adapters = adapters
        self._cache = LiveCache(loaded.device)
        self._recent = RecentPrompts(recent_tokens)

    @torch.inference_mode()
    def add(self, prompts: Sequence[np.ndarray], keys: Sequence[str], copies: Sequence[int]) -> Tensor:
        """Compute what is new in prompts: a long beginning that several share once, the rest side by side."""
        if beginning := self._recent.find_beginning(prompts, keys):
            shared_T, key = beginning
            self._compute([shared_T], [key])
        cache, hidden_MD = self._compute(prompts, keys)
        for row, (prompt, count) in enumerate(zip(prompts, copies, strict=True)):
            for _ in range(count):
                self._cache.add(cache, row, len(prompt))
        return self._logits(hidden_MD)

    def _compute(self, prompts: Sequence[np.ndarray], keys: Sequence[str]) -> tuple[LiveCache, Tensor]:
        """Compute side by side what is not known of prompts; behind a shorter one's end there is rubbish.

        Returns:
            A cache with a row a prompt, and the state of each prompt's last token, (M, D).
        """
        cache = LiveCache(self._loaded.device)
        rests = [prompt[self._recent.start(cache, prompt, key) :] for prompt, key in zip(prompts, keys, strict=True)]
        lengths = [len(rest) for rest in rests]
        ids_BS = torch.zeros(len(prompts), max(lengths), dtype=torch.long)
        for row, rest in enumerate(rests):
            ids_BS[row, : len(rest)] = torch.from_numpy(np.asarray(rest, dtype=np.int64))
        last: dict[int, Tensor] = {}
        done = 0
        for ids_BQ in ids_BS.to(self._loaded.device).split(max(1, CHUNK_TOKENS // len(prompts)), dim=1):
            hidden_BQD = self._pass(cache, ids_BQ, keys)
            for row, length in enumerate(lengths):
                if done < length <= done + ids_BQ.shape[1]:
                    last[row] = hidden_BQD[row, length - 1 - done]
            done += ids_BQ.shape[1]
        self._recent.keep(cache, prompts, keys)
        return cache, torch.stack([last[row] for row in range(len(prompts))])

    @torch.inference_mode()
    def step(self, tokens: Sequence[int], keys: Sequence[str]) -> Tensor:
        """Run one pass over the last token of every row."""
        ids_B1 = torch.tensor(tokens, device=self._loaded.device)[:, None]
        return self._logits(self._pass(self._cache, ids_B1, keys)[:, -1])

    @torch.inference_mode()
    def drop(self, place: int) -> None:
        """Forget a row; the last takes its place."""
        self._cache.drop(place)

    def _pass(self, cache: LiveCache, ids_BQ: Tensor, keys: Sequence[str]) -> Tensor:
        positions_BQ = cache.begin(ids_BQ.shape[1])
        options: dict[str, Any] = {CACHE_KEY: cache}
        with cached_attention(self._loaded), use_adapters(self._adapters, keys):
            output = self._loaded.decoder(input_ids=ids_BQ, position_ids=positions_BQ, use_cache=False, **options)
        cache.end()
        hidden_BQD: Tensor = output.last_hidden_state
        return hidden_BQD

    def _logits(self, hidden_BD: Tensor) -> Tensor:
        return compute_logits(hidden_BD, self._loaded.head_weight_VD, self._loaded.head_form)


class PlainDecoder:
    """Each row alone, with the architecture's own cache."""

    def __init__(self, loaded: LoadedModel, adapters: SharedAdapters | None = None) -> None:
        """Start without rows."""
        self._loaded = loaded
        self._adapters = adapters
        self._caches: list[Any] = []

    def add(self, prompts: Sequence[np.ndarray], keys: Sequence[str], copies: Sequence[int]) -> Tensor:
        """Compute prompts one by one; copies share nothing."""
        logits = []
        for prompt, key, count in zip(prompts, keys, copies, strict=True):
            cache, logits_V = self._run(np.asarray(prompt, dtype=np.int64), None, key)
            logits.append(logits_V)
            self._caches += [cache, *(copy.deepcopy(cache) for _ in range(count - 1))]
        return torch.stack(logits)

    def step(self, tokens: Sequence[int], keys: Sequence[str]) -> Tensor:
        """Run every row alone."""
        logits = []
        for place, (token, key) in enumerate(zip(tokens, keys, strict=True)):
            self._caches[place], logits_V = self._run(np.array([token]), self._caches[place], key)
            logits.append(logits_V)
        return torch.stack(logits)

    def drop(self, place: int) -> None:
        """Forget a row; the last takes its place."""
        last = self._caches.pop()
        if place < len(self._caches):
            self._caches[place] = last

    @torch.inference_mode()
    def _run(self, ids_Q: np.ndarray, cache: Any, key: str) -> tuple[Any, Tensor]:  # noqa: ANN401  transformers'
        ids_1Q = torch.from_numpy(ids_Q).to(self._loaded.device)[None]
        with self._loaded.plain_attention(), use_adapters(self._adapters, [key]):
            output = self._loaded.model(input_ids=ids_1Q, past_key_values=cache, use_cache=True, logits_to_keep=1)
        logits_V: Tensor = output.logits[0, -1]
        return output.past_key_values, logits_V if logits_V.dtype == torch.float64 else logits_V.float()


def use_adapters(adapters: SharedAdapters | None, keys: Sequence[str]) -> AbstractContextManager[None]:
    """Give each row of the next pass its adapter, where there are any."""
    return nullcontext() if adapters is None else adapters.using(keys)
