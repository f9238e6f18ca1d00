"""The batched runtime against transformers' own ``generate``: token for token, on six architectures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from luthier.instruments.engine.load import LoadedModel, wrap_model
from luthier.instruments.engine.runtimes.torch_batched.cache import DecodeCache
from luthier.instruments.engine.runtimes.torch_batched.config import Config
from luthier.instruments.engine.runtimes.torch_batched.runtime import PLUGIN
from tests.fixtures.tiny_models import ARCHITECTURES, make_tiny

NEW_TOKENS = 12


def _no_mask(self: DecodeCache, num_queries: int, window: int | None) -> None:
    """Let every query see every slot."""


def _no_window(mask: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, num_queries, _window: mask(self, num_queries, None)


def _forgetful(self: DecodeCache, rows_B: torch.Tensor) -> None:
    """Forget the wrong rows."""
    CORRECT_KEEP(self, rows_B.flip(0))


CORRECT_KEEP = DecodeCache.keep
BREAKS = {
    "padding is seen": ("llama", "_own_mask", _no_mask),
    "no window over own tokens": ("mistral", "_own_mask", _no_window(DecodeCache._own_mask)),
    "no window over the shared beginning": ("mistral", "_shared_mask", _no_mask),
    "rows change places": ("llama", "keep", _forgetful),
}


def _prompts(seed: int = 0) -> list[np.ndarray]:
    """Prompts of 1 to 40 tokens: two families with a common beginning longer than any window, and loners."""
    rng = np.random.default_rng(seed)
    beginnings = [rng.integers(8, 320, size) for size in (24, 18)]
    family = [np.concatenate([beginnings[i % 2], rng.integers(8, 320, 1 + i * 2 % 13)]) for i in range(12)]
    loners = [rng.integers(8, 320, size) for size in (1, 2, 5, 9, 33, 40)]
    return [prompt.astype(np.int32) for prompt in [*family, *loners]]


def _theirs(loaded: LoadedModel, prompt: np.ndarray, end_ids: Sequence[int]) -> tuple[int, ...]:
    ids = torch.as_tensor(prompt, dtype=torch.long)[None]
    with loaded.plain_attention():
        out = loaded.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=NEW_TOKENS,
            eos_token_id=list(end_ids) or None,
            pad_token_id=0,
        )
    new = out[0, len(prompt) :].tolist()
    return tuple(new[:-1] if new and new[-1] in end_ids else new)


def _ours(
    loaded: LoadedModel, prompts: Sequence[np.ndarray], end_ids: Sequence[int], **options: object
) -> list[tuple[int, ...]]:
    config = Config(max_new_tokens=NEW_TOKENS, **options)
    answers = PLUGIN.generate(loaded, prompts, config, end_ids=end_ids)
    return [answer.token_ids for answer in answers if answer is not None]


@pytest.mark.parity
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_greedy_answers_equal_transformers_generate_token_for_token(architecture: str) -> None:
    loaded = wrap_model(make_tiny(architecture, seed=3).double())  # float64: no two logits are near enough to swap
    prompts = _prompts()
    # Two tokens that the model writes midway end the answers, so that rows finish at different times.
    end_ids = sorted({_theirs(loaded, prompt, ())[place] for prompt, place in ((prompts[0], 5), (prompts[14], 8))})
    theirs = [_theirs(loaded, prompt, end_ids) for prompt in prompts]
    assert len({len(answer) for answer in theirs}) > 1
    for options in ({}, {"share_prefixes": False}, {"batch_rows": 1}, {"batch_rows": 5}, {"batch_tokens": 60}):
        assert _ours(loaded, prompts, end_ids, **options) == theirs, options


@pytest.mark.parity
@pytest.mark.parametrize("broken", BREAKS)
def test_this_comparison_notices_a_broken_cache(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test of the test: each law of the cache, broken, changes an answer."""
    architecture, name, wrong = BREAKS[broken]
    loaded = wrap_model(make_tiny(architecture, seed=3).double())
    prompts = _prompts()
    end_ids = [_theirs(loaded, prompts[0], ())[5]]
    right = _ours(loaded, prompts, end_ids)
    monkeypatch.setattr(DecodeCache, name, wrong)
    assert _ours(loaded, prompts, end_ids) != right
