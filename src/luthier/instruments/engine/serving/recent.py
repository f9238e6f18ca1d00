"""Prompts of a moment ago: a new one that begins alike (system prompt, tools, earlier turns) computes only the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Final

import numpy as np

from luthier.instruments.engine.runtimes.torch_batched.batches import count_shared
from luthier.instruments.engine.serving.live_cache import LiveCache

MIN_SHARED_TOKENS: Final = 16
"""A shorter beginning is computed faster than it is copied."""
MIN_SAVED_TOKENS: Final = 64
"""Fewer are computed side by side faster than in a pass of their own before."""


@dataclass(frozen=True, slots=True, eq=False)
class Recent:
    """One prompt with its keys and values, the only row of its cache."""

    key: str
    ids_T: np.ndarray
    cache: LiveCache


@dataclass
class RecentPrompts:
    """The newest prompts, up to a number of tokens.

    Attributes:
        max_tokens: What all kept prompts may come to together; 0 keeps none.
    """

    max_tokens: int
    _kept: list[Recent] = field(default_factory=list)

    def start(self, cache: LiveCache, prompt: np.ndarray, key: str) -> int:
        """Add a row to a cache that holds as much of a prompt's beginning as is known.

        Args:
            cache: Gets the row.
            prompt: Token ids.
            key: Its adapter: what one adapter computed is of no use to another.

        Returns:
            Tokens of the beginning; always fewer than the prompt has, since its last token's logits are wanted.
        """
        best, num_shared = self._find(prompt, key)
        if best is None:
            cache.lengths.append(0)
            return 0
        cache.add(best.cache, 0, num_shared)
        self._kept.remove(best)
        self._kept.append(best)
        return num_shared

    def find_beginning(self, prompts: Sequence[np.ndarray], keys: Sequence[str]) -> tuple[np.ndarray, str] | None:
        """Return the unknown beginning that is worth computing once for several prompts, with its adapter, if any is.

        Worth most is what saves most tokens: its own, less what is known of it, for every prompt but one.
        """
        best, most = None, MIN_SAVED_TOKENS - 1
        for (first, key), (second, other) in combinations(zip(prompts, keys, strict=True), 2):
            shared = min(count_shared(first, second), len(first) - 1, len(second) - 1) if key == other else 0
            if not MIN_SHARED_TOKENS <= shared <= self.max_tokens or shared * (len(prompts) - 1) <= most:
                continue  # too short, too long, or not worth more if all shared it
            num_sharing = sum(
                prompt_key == key and count_shared(first, prompt) >= shared
                for prompt, prompt_key in zip(prompts, keys, strict=True)
            )
            saved = (shared - self._find(first[: shared + 1], key)[1]) * (num_sharing - 1)
            if saved > most:
                best, most = (first[:shared], key), saved
        return best

    def _find(self, prompt: np.ndarray, key: str) -> tuple[Recent | None, int]:
        """Return what is kept of a prompt's beginning and its tokens; all but the prompt's last at most."""
        best, num_shared = None, 0
        for recent in self._kept:
            shared = min(count_shared(prompt, recent.ids_T), len(prompt) - 1) if recent.key == key else 0
            if shared >= max(MIN_SHARED_TOKENS, num_shared + 1):
                best, num_shared = recent, shared
        return best, num_shared

    def keep(self, cache: LiveCache, prompts: Sequence[np.ndarray], keys: Sequence[str]) -> None:
        """Keep prompts that were just computed, row by row; a prompt takes the place of its own beginning."""
        for row, (prompt, key) in enumerate(zip(prompts, keys, strict=True)):
            if not MIN_SHARED_TOKENS <= len(prompt) <= self.max_tokens:
                continue
            if any(recent.key == key and count_shared(prompt, recent.ids_T) == len(prompt) for recent in self._kept):
                continue
            own = LiveCache(cache.device)
            own.add(cache, row, len(prompt))
            self._kept = [
                recent
                for recent in self._kept
                if recent.key != key or count_shared(prompt, recent.ids_T) < len(recent.ids_T)
            ]
            self._kept.append(Recent(key, np.array(prompt), own))
        while sum(len(recent.ids_T) for recent in self._kept) > self.max_tokens:
            self._kept.pop(0)
