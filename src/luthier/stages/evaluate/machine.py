"""The machine that answers: one base in memory, the tuned weights put on it when they are first asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np

from luthier.foundation import registry
from luthier.foundation.core.seeds import derive_seed
from luthier.instruments.engine.load import LoadedModel, load_model
from luthier.instruments.engine.runtimes.torch_batched.config import Config as RuntimeConfig
from luthier.instruments.engine.runtimes.torch_batched.runtime import PLUGIN
from luthier.instruments.engine.runtimes.torch_batched.runtime import Asked as AskedTokens
from luthier.instruments.engine.score import score_rows
from luthier.instruments.text.encode import EncodedRow
from luthier.instruments.text.tokens import TextTokenizer, load_tokenizer
from luthier.stages.evaluate.harness import Answer
from luthier.stages.evaluate.suite import Asked

TUNED: Final = "tuned"
WEIGH_ROWS: Final = 16
PACK_TOKENS: Final = 2048
LOGPROB_DIGITS: Final = 6
"""What float32 holds of a log-probability."""


@dataclass(frozen=True, slots=True)
class TunedFiles:
    """What training made, as files, and the method that puts it on a base."""

    folder: Path
    method: str
    base_digest: str


@dataclass
class EngineMachine:
    """Answers with our own engine.

    The base is loaded at the first question; the tuned weights go on at the first question to ``tuned``. Asked
    bases-first, every method is served by one load; a base that is asked afterwards is had back by the method.
    """

    base_folder: Path
    tokenizer: TextTokenizer
    precision: Literal["fp32", "bf16"] = "fp32"
    tuned: TunedFiles | None = None
    seed: int = 0
    _loaded: LoadedModel | None = None
    _is_tuned: bool = False

    @property
    def loaded(self) -> LoadedModel:
        """The model; loaded when first used.

        Raises:
            ModelError: When the base cannot be loaded.
        """
        if self._loaded is None:
            self._loaded = load_model(self.base_folder, dtype=self.precision)
        return self._loaded

    @contextmanager
    def using(self, system: str) -> Iterator[None]:
        """Be one of the systems inside the context.

        Raises:
            ModelError: When the tuned files do not fit the base.
        """
        method = registry.load_runtime("methods", self.tuned.method) if self.tuned else None
        if system == TUNED and self.tuned is not None and method is not None:
            if not self._is_tuned:
                method.load(self.loaded, self.tuned.folder, self.tuned.base_digest)
                self._is_tuned = True
            yield
        elif self._is_tuned and method is not None:
            with method.disabled(self.loaded):
                yield
        else:
            yield

    def plan(self, prompts: Sequence[Asked], max_new_tokens: int) -> list[tuple[int, ...]]:
        """Cut prompts into batches: by shared beginnings and length where answers are generated."""
        if not max_new_tokens:
            starts = range(0, len(prompts), WEIGH_ROWS)
            return [tuple(range(start, min(start + WEIGH_ROWS, len(prompts)))) for start in starts]
        config = RuntimeConfig(max_new_tokens=max_new_tokens)
        return [batch.rows for batch in PLUGIN.plan_batches(_only_ids(prompts), config)]

    def answer(
        self, prompts: Sequence[Asked], max_new_tokens: int, open_batches: Sequence[int]
    ) -> Iterator[list[Answer]]:
        """Answer batches greedily, or weigh them."""
        if not max_new_tokens:
            batches = self.plan(prompts, 0)
            for number in open_batches:
                yield self._weigh([prompts[row] for row in batches[number]])
            return
        config = RuntimeConfig(max_new_tokens=max_new_tokens)
        ids = _only_ids(prompts)
        planned = PLUGIN.plan_batches(ids, config)
        asked = AskedTokens(ids, config, self.tokenizer.end_token_ids)
        for _, found in PLUGIN.answer_batches(self.loaded, asked, [planned[number] for number in open_batches]):
            yield [
                Answer(
                    self.tokenizer.decode(list(one.token_ids)),
                    one.finish_reason,
                    mean_logprob=round(one.mean_logprob, LOGPROB_DIGITS),
                )
                for one in found
            ]

    def _weigh(self, asked: Sequence[Asked]) -> list[Answer]:
        sequences = [_list_sequences(one) for one in asked]
        rows = [row for own in sequences for row in own]
        scores = iter(score_rows(self.loaded, rows, pack_tokens=PACK_TOKENS))
        return [Answer("", "weighed", *(-float(next(scores).sum()) for _ in own)) for own in sequences]

    def sample(self, count: int, num_tokens: int) -> list[list[int]]:
        """Have the base write texts of its own, from its start token, at temperature 1."""
        tokenizer = self.tokenizer
        start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.end_token_id
        config = RuntimeConfig(max_new_tokens=num_tokens, temperature=1.0)
        prompts = [np.array([start], dtype=np.int32)] * count
        ends = tokenizer.end_token_ids - {start}
        seed = derive_seed(self.seed, "evaluate", "passages")
        with self.using("base"):
            answers = PLUGIN.generate(self.loaded, prompts, config, end_ids=ends, seed=seed)
        return [list(answer.token_ids) for answer in answers]


def _only_ids(prompts: Sequence[Asked]) -> list[np.ndarray]:
    """Return prompts as tokens; pairs are weighed and never generated from."""
    return [prompt for prompt in prompts if isinstance(prompt, np.ndarray)]


def _list_sequences(asked: Asked) -> tuple[EncodedRow, ...]:
    """Return what is weighed: both answers of a pair, or every token of a text after its first."""
    if not isinstance(asked, np.ndarray):
        return asked.sequences
    weights = np.ones(len(asked), dtype=np.float32)
    weights[0] = 0.0
    return (EncodedRow("", asked, weights),)


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model on disk: a base's folder, and what was trained on it where there is something.

    Attributes:
        base_folder: Safetensors, configuration, tokenizer.
        tuned: Trained files; None for the base itself.
        chat_template: Takes the place of the folder's own.
    """

    base_folder: Path
    tuned: TunedFiles | None = None
    chat_template: str | None = None

    def open(self, precision: Literal["fp32", "bf16"], seed: int) -> EngineMachine:
        """Make the machine; weights are loaded at the first question."""
        tokenizer = load_tokenizer(self.base_folder, chat_template=self.chat_template)
        return EngineMachine(self.base_folder, tokenizer, precision, self.tuned, seed)

    @property
    def system(self) -> str:
        """The system that the machine has to be."""
        return TUNED if self.tuned else "base"
