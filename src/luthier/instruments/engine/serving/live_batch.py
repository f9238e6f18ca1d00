"""The rows of one loaded base, whoever asked and whichever adapter they use: admitted, stepped, dropped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from luthier.foundation.schema.serving import TokenLogprob
from luthier.instruments.engine.runtimes.torch_batched.sampling import draw_tokens
from luthier.instruments.engine.serving.answering import LiveAnswering, LiveRow, describe_logprob
from luthier.instruments.engine.serving.decoders import RowDecoder

ADMIT_TOKENS: Final = 2048
"""Prompt tokens computed between two steps: whoever is being answered waits no longer than that."""
MAX_PADDING: Final = 256
"""Tokens that may be computed for nothing so that prompts go together."""


class LiveBatch:
    """Answers under way on one base.

    Args:
        decoder: Computes the rows.
        max_rows: Most answers computed together.
        max_tokens: Most tokens of the cache that they may come to; one request alone is always taken.
    """

    def __init__(self, decoder: RowDecoder, *, max_rows: int, max_tokens: int) -> None:
        self._decoder = decoder
        self._max_rows = max_rows
        self._max_tokens = max_tokens
        self._rows: list[LiveRow] = []

    def __len__(self) -> int:
        """Number of answers under way."""
        return len(self._rows)

    def choose(self, waiting: Sequence[LiveAnswering]) -> list[LiveAnswering]:
        """Choose from the front of a queue what can join now; nobody overtakes.

        Prompts that join together are computed side by side, so they are bounded together, and so is what the shorter
        ones are padded with.
        """
        chosen: list[LiveAnswering] = []
        num_rows, width = len(self._rows), max((row.asked.width for row in self._rows), default=0)
        lengths: list[int] = []
        for answering in waiting:
            asked = answering.asked
            num_rows += asked.request.n
            width = max(width, asked.width)
            lengths.append(len(asked.prompt))
            is_crowded = num_rows > self._max_rows or num_rows * width > self._max_tokens
            computed = max(lengths) * len(lengths)
            is_costly = computed > ADMIT_TOKENS or computed - sum(lengths) > MAX_PADDING
            if (is_crowded and (self._rows or chosen)) or (is_costly and chosen):
                break
            chosen.append(answering)
        return chosen

    def admit(self, answerings: Sequence[LiveAnswering]) -> None:
        """Compute prompts and give each answer its first token."""
        asked = [answering.asked for answering in answerings]
        copies = [one.request.n for one in asked]
        logits_MV = self._decoder.add([one.prompt for one in asked], [one.key for one in asked], copies)
        new = [LiveRow(answering, index) for answering in answerings for index in range(answering.asked.request.n)]
        self._rows += new
        sources = np.repeat(np.arange(len(asked)), copies)
        self._take(new, logits_MV[torch.from_numpy(sources).to(logits_MV.device)])

    def step(self) -> None:
        """Give every answer its next token."""
        keys = [row.asked.key for row in self._rows]
        self._take(list(self._rows), self._decoder.step([row.last_token for row in self._rows], keys))

    def drop_cancelled(self) -> None:
        """Free the places of answers that nobody waits for."""
        for row in [row for row in self._rows if row.answering.is_cancelled]:
            row.answering.end_cancelled()
            self._drop(row)

    def list_answerings(self) -> list[LiveAnswering]:
        """Return the requests under way."""
        return list(dict.fromkeys(row.answering for row in self._rows))

    def _take(self, rows: Sequence[LiveRow], logits_BV: Tensor) -> None:
        tokens = _choose_tokens(rows, logits_BV)
        logps_BV = torch.log_softmax(logits_BV, dim=-1)  # the model's own, whatever the temperature
        for row, token, logps_V in zip(rows, tokens, logps_BV, strict=True):
            logprob = float(logps_V[token])
            if not row.take(token, logprob, _show_logprob(row, token, logprob, logps_V)):
                self._drop(row)

    def _drop(self, row: LiveRow) -> None:
        place = self._rows.index(row)
        self._decoder.drop(place)
        last = self._rows.pop()
        if last is not row:
            self._rows[place] = last


def _choose_tokens(rows: Sequence[LiveRow], logits_BV: Tensor) -> list[int]:
    """Choose each row's token: the likeliest, or drawn from the row's own stream of random numbers."""
    tokens_B = logits_BV.argmax(dim=-1)
    drawn = [place for place, row in enumerate(rows) if row.asked.request.temperature > 0]
    if drawn:
        requests = [rows[place].asked.request for place in drawn]
        tokens_B[drawn] = draw_tokens(
            logits_BV[drawn],
            temperatures_B=[request.temperature for request in requests],
            top_ps_B=[request.top_p for request in requests],
            draws_B=[rows[place].draws.random() for place in drawn],
        )
    chosen: list[int] = tokens_B.tolist()
    return chosen


def _show_logprob(row: LiveRow, token: int, logprob: float, logps_V: Tensor) -> TokenLogprob | None:
    """Return a log-probability in words, with the likeliest tokens', where they were asked for."""
    num_top = row.asked.request.top_logprobs
    if num_top is None:
        return None
    values, ids = logps_V.topk(min(num_top, len(logps_V)))
    return describe_logprob(row.asked.tokenizer, token, logprob, list(zip(ids.tolist(), values.tolist(), strict=True)))
