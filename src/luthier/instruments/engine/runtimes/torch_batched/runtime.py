"""Answer many prompts: fixed batches, one cache each, rows leave as they finish. Read ``generate`` first.

Prompts of a batch that begin alike (system prompt, tools, labels) share that beginning: it is computed once for the
whole group of batches. Architectures whose layers do not attend through transformers' interface answer one by one
with their own cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import Tensor

from luthier.foundation.core.errors import EvalError
from luthier.instruments.engine.load import LoadedModel
from luthier.instruments.engine.loss import compute_logits
from luthier.instruments.engine.runtimes.torch_batched.batches import Batch, plan_batches
from luthier.instruments.engine.runtimes.torch_batched.cache import DecodeCache, cached_attention, run_pass
from luthier.instruments.engine.runtimes.torch_batched.config import Config
from luthier.instruments.engine.runtimes.torch_batched.sampling import TokenChooser, find_logprobs

PREFILL_TOKENS: Final = 2048
"""Prompt tokens computed at once; bounds memory."""
COMPACT_BELOW: Final = 0.75
"""A batch is made smaller when less than this share of its rows is still being answered."""


@dataclass(frozen=True, slots=True)
class GeneratedAnswer:
    """One answer.

    Attributes:
        token_ids: What was generated, without the token that ended it.
        finish_reason: ``stop`` after an end token, ``length`` at the bound.
        end_id: The end token, where there was one.
        mean_logprob: Mean log-probability of all its tokens under the model, the end token's included; nats.
    """

    token_ids: tuple[int, ...]
    finish_reason: Literal["stop", "length"]
    end_id: int | None = None
    mean_logprob: float = 0.0


@dataclass(frozen=True, slots=True)
class Asked:
    """All prompts of one question round, with what their answers depend on.

    Attributes:
        prompts: Token ids of each prompt.
        config: Bounds and sampling.
        end_ids: Tokens that end an answer.
        seed: Seed of the draws.
    """

    prompts: Sequence[np.ndarray]
    config: Config
    end_ids: frozenset[int]
    seed: int = 0

    def choose_tokens(self, rows: Sequence[int]) -> TokenChooser:
        """Make the chooser of some rows."""
        return TokenChooser(temperature=self.config.temperature, top_p=self.config.top_p, seed=self.seed, places=rows)


OnBatch = Callable[[Batch, Sequence[GeneratedAnswer]], None]


class TorchBatched:
    """Batched generation in plain torch."""

    def plan_batches(self, prompts: Sequence[np.ndarray], config: Config) -> list[Batch]:
        """Cut prompts into the batches that :meth:`generate` answers."""
        return plan_batches(prompts, config)

    def generate(
        self,
        loaded: LoadedModel,
        prompts: Sequence[np.ndarray],
        config: Config,
        *,
        end_ids: Iterable[int],
        seed: int = 0,
        on_batch: OnBatch | None = None,
    ) -> list[GeneratedAnswer]:
        """Answer all prompts.

        Args:
            loaded: The model, adapter on or off as it is now.
            prompts: Token ids of each prompt, at least one token.
            config: Bounds and sampling.
            end_ids: Tokens that end an answer.
            seed: Seed of the draws; not used when greedy.
            on_batch: Called with each batch and its answers as soon as it is done.

        Returns:
            One answer a prompt, in the prompts' order.

        Raises:
            EvalError: E-EVA-001 when a prompt is empty or leaves no room for an answer.
        """
        answers: dict[int, GeneratedAnswer] = {}
        asked = Asked(prompts, config, frozenset(end_ids), seed)
        for batch, found in self.answer_batches(loaded, asked, plan_batches(prompts, config)):
            answers.update(zip(batch.rows, found, strict=True))
            if on_batch is not None:
                on_batch(batch, found)
        return [answers[row] for row in range(len(prompts))]

    def answer_batches(
        self, loaded: LoadedModel, asked: Asked, batches: Iterable[Batch]
    ) -> Iterator[tuple[Batch, list[GeneratedAnswer]]]:
        """Answer some of the planned batches, one at a time, so that a caller can keep each before the next.

        Raises:
            EvalError: E-EVA-001 when a prompt is empty or leaves no room for an answer.
        """
        _check_lengths(asked.prompts, asked.config, loaded)
        loaded.model.eval()
        prefix, prefix_ids = None, np.zeros(0, dtype=np.int64)
        for batch in batches:
            prompts = [np.asarray(asked.prompts[row], dtype=np.int64) for row in batch.rows]
            with torch.inference_mode():
                if not loaded.can_pack:
                    found = _answer_one_by_one(loaded, prompts, asked, batch)
                else:
                    with cached_attention(loaded):
                        wanted = prompts[0][: batch.num_shared]
                        if not np.array_equal(wanted, prefix_ids):
                            prefix, prefix_ids = _compute_prefix(loaded, wanted), wanted
                        found = _answer_batch(loaded, prompts, prefix, asked, batch)
            yield batch, found


def _check_lengths(prompts: Sequence[np.ndarray], config: Config, loaded: LoadedModel) -> None:
    bound = int(getattr(loaded.config, "max_position_embeddings", 0) or 2**62)
    for row, prompt in enumerate(prompts):
        if not 0 < len(prompt) <= bound - config.max_new_tokens:
            raise EvalError(
                "E-EVA-001",
                "a prompt leaves no room for its answer" if len(prompt) else "a prompt is empty",
                got=f"{len(prompt)} tokens, answer of up to {config.max_new_tokens}",
                origin=f"prompt {row + 1}",
                allowed=f"prompt and answer within the base's {bound} positions",
                fix=f"set max_new_tokens below {max(1, bound - len(prompt))}, or leave the row out",
            )


def _compute_prefix(loaded: LoadedModel, ids_P: np.ndarray) -> DecodeCache | None:
    if not len(ids_P):
        return None
    cache = DecodeCache.empty(1, len(ids_P), loaded.device)
    _prefill(loaded, cache, torch.as_tensor(ids_P, device=loaded.device)[None], torch.arange(len(ids_P))[None])
    return cache


def _prefill(loaded: LoadedModel, cache: DecodeCache, ids_BS: Tensor, positions_BS: Tensor) -> Tensor:
    step = max(1, PREFILL_TOKENS // len(ids_BS))
    hidden_BD = torch.empty(0)
    for ids_BQ, positions_BQ in zip(ids_BS.split(step, 1), positions_BS.split(step, 1), strict=True):
        hidden_BD = run_pass(loaded, cache, ids_BQ, positions_BQ.to(loaded.device))
    return hidden_BD


def _answer_batch(
    loaded: LoadedModel,
    prompts: Sequence[np.ndarray],
    prefix: DecodeCache | None,
    asked: Asked,
    batch: Batch,
) -> list[GeneratedAnswer]:
    num_shared = prefix.num_filled if prefix else 0
    config, chooser = asked.config, asked.choose_tokens(batch.rows)
    ids_BS, positions_BS = _align_right([prompt[num_shared:] for prompt in prompts], num_shared)
    cache = DecodeCache.empty(len(prompts), ids_BS.shape[1] + config.max_new_tokens, loaded.device, prefix)
    hidden_BD = _prefill(loaded, cache, ids_BS.to(loaded.device), positions_BS)
    written = _Written(len(prompts), config.max_new_tokens, asked.end_ids)
    next_positions_B = torch.tensor([len(prompt) for prompt in prompts], device=loaded.device)
    while True:
        logits_BV = compute_logits(hidden_BD, loaded.head_weight_VD, loaded.head_form)
        tokens_B = chooser.choose(logits_BV)
        kept = written.add(tokens_B.tolist(), find_logprobs(logits_BV, tokens_B).tolist())
        if not kept:
            return written.answers()
        if len(kept) < len(tokens_B):
            rows_B = torch.tensor(kept, device=loaded.device)
            cache.keep(rows_B)
            chooser.keep(kept)
            tokens_B, next_positions_B = tokens_B[rows_B], next_positions_B[rows_B]
        hidden_BD = run_pass(loaded, cache, tokens_B[:, None], next_positions_B[:, None])
        next_positions_B = next_positions_B + 1


def _align_right(rows: Sequence[np.ndarray], first_position: int) -> tuple[Tensor, Tensor]:
    width = max(len(row) for row in rows)
    ids_BS = torch.zeros(len(rows), width, dtype=torch.long)
    positions_BS = torch.full((len(rows), width), -1)
    for index, row in enumerate(rows):
        ids_BS[index, width - len(row) :] = torch.from_numpy(row)
        positions_BS[index, width - len(row) :] = torch.arange(len(row)) + first_position
    return ids_BS, positions_BS


class _Written:
    """What each row has answered so far, and which rows are still in the computed batch."""

    def __init__(self, num_rows: int, bound: int, end_ids: frozenset[int]) -> None:
        self._tokens: list[list[int]] = [[] for _ in range(num_rows)]
        self._ends: list[int | None] = [None] * num_rows
        self._logprobs = [0.0] * num_rows
        self._in_batch = list(range(num_rows))
        self._bound = bound
        self._end_ids = end_ids

    def add(self, tokens: list[int], logprobs: list[float]) -> list[int]:
        """Take one token a computed row; return the places that stay in the computation, none when all is done."""
        for row, token, logprob in zip(self._in_batch, tokens, logprobs, strict=True):
            if not self._is_open(row):
                continue
            self._logprobs[row] += logprob
            if token in self._end_ids:
                self._ends[row] = token
            else:
                self._tokens[row].append(token)
        is_open = [self._is_open(row) for row in self._in_batch]
        if not any(is_open):
            return []
        if sum(is_open) > COMPACT_BELOW * len(is_open):
            return list(range(len(is_open)))
        kept = [place for place, stays in enumerate(is_open) if stays]
        self._in_batch = [self._in_batch[place] for place in kept]
        return kept

    def _is_open(self, row: int) -> bool:
        return self._ends[row] is None and len(self._tokens[row]) < self._bound

    def answers(self) -> list[GeneratedAnswer]:
        """Return the answers in the batch's order."""
        return [
            GeneratedAnswer(
                tuple(tokens), "length" if end is None else "stop", end, logprob / (len(tokens) + (end is not None))
            )
            for tokens, end, logprob in zip(self._tokens, self._ends, self._logprobs, strict=True)
        ]


def _answer_one_by_one(
    loaded: LoadedModel, prompts: Sequence[np.ndarray], asked: Asked, batch: Batch
) -> list[GeneratedAnswer]:
    """Answer with the architecture's own cache, a row at a time."""
    found = []
    with loaded.plain_attention():
        for place, prompt in zip(batch.rows, prompts, strict=True):
            chooser = asked.choose_tokens([place])
            written = _Written(1, asked.config.max_new_tokens, asked.end_ids)
            ids_1Q, cache = torch.as_tensor(prompt, device=loaded.device)[None], None
            while True:
                output: Any = loaded.model(input_ids=ids_1Q, past_key_values=cache, use_cache=True, logits_to_keep=1)
                cache = output.past_key_values
                logits_1V = output.logits[:, -1]
                token_1 = chooser.choose(logits_1V)
                if not written.add(token_1.tolist(), find_logprobs(logits_1V, token_1).tolist()):
                    break
                ids_1Q = token_1[:, None]
            found.extend(written.answers())
    return found


PLUGIN = TorchBatched()
