"""The certificate's last step: what a server answers over HTTP, scored again by the merged model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from luthier.foundation.core.errors import DataError
from luthier.foundation.schema.rows import Message, Row
from luthier.instruments.engine.load import LoadedModel
from luthier.instruments.engine.score import ProbeScores, score_probes
from luthier.instruments.remote.clients.openai_compatible import ServedAnswer
from luthier.instruments.text.encode import encode_prompt
from luthier.instruments.text.tokens import TextTokenizer
from luthier.instruments.text.tool_calls import name_calls
from luthier.stages.deploy.comparison import FP32_CONTRACT, Comparison, Contract, compare_scores
from luthier.stages.deploy.probes import LiveProbe, encode_scored, to_conversation

ANSWER_TOKENS: Final = 24
"""Tokens that the server answers at most."""
SERVER_TOKENS: Final = 4_096
"""Tokens of prompts and answers that the server is asked to compute: it computes every one of them anew."""
FEWEST_PROMPTS: Final = 16
"""Prompts that it is asked even where they hold more."""


@dataclass(frozen=True)
class Prompt:
    """What a server is asked, and the ids that it must make of it.

    Shapes:
        T tokens of the prompt.
    """

    id: str
    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...]
    ids_T: np.ndarray


AskServer = Callable[[Path, Sequence[Prompt]], Sequence[ServedAnswer]]
"""Serves a folder in a process of its own and returns one greedy answer a prompt, in order."""


def pick_prompts(
    probes: Sequence[LiveProbe], tokenizer: TextTokenizer, *, max_tokens: int = SERVER_TOKENS
) -> list[Prompt]:
    """Take conversations whose last turn can be asked for: all where they are short, else some, spread evenly.

    Args:
        probes: Held-out ones first, then the fixed ones; both kinds are met.
        tokenizer: Training's, with training's template.
        max_tokens: How many are taken at prompts of mean length, answers included; 16 at least.
    """
    found = [prompt for probe in probes if (prompt := _make_prompt(to_conversation(probe.row), tokenizer)) is not None]
    mean_tokens = sum(len(prompt.ids_T) + ANSWER_TOKENS for prompt in found) / max(1, len(found))
    wanted = max(FEWEST_PROMPTS, int(max_tokens // mean_tokens)) if found else 0
    if len(found) <= wanted:
        return found
    return [found[place * len(found) // wanted] for place in range(wanted)]


def _make_prompt(row: Row, tokenizer: TextTokenizer) -> Prompt | None:
    """Cut a conversation before its last assistant turn; None where nothing is asked."""
    last = max((at for at, message in enumerate(row.messages) if message.role == "assistant"), default=0)
    messages = name_calls(row.messages[:last])
    if not messages or messages[-1].role not in {"user", "tool"} or all(m.role != "user" for m in messages):
        return None
    try:
        ids_T = encode_prompt(messages, row.tools, tokenizer, origin=str(row.origin))
    except DataError:
        return None  # a template that writes whole dialogues only, which the step `rendered` has compared
    return Prompt(row.id, messages, row.tools, ids_T)


def find_served_breach(prompts: Sequence[Prompt], answers: Sequence[ServedAnswer]) -> str:
    """Say which prompt the server rendered otherwise, or which answer is incomplete; empty where all is there."""
    for prompt, answer in zip(prompts, answers, strict=True):
        if not np.array_equal(prompt.ids_T, np.asarray(answer.prompt_token_ids)):
            return (
                f"the server's prompt for {prompt.id} has {len(answer.prompt_token_ids)} tokens, other than the "
                f"{len(prompt.ids_T)} of training"
            )
        if not answer.token_ids or len(answer.token_ids) != len(answer.logprobs):
            return f"{len(answer.logprobs)} log-probabilities for {len(answer.token_ids)} tokens of {prompt.id}"
    return ""


def compare_served(
    prompts: Sequence[Prompt],
    answers: Sequence[ServedAnswer],
    merged: LoadedModel,
    *,
    pack_tokens: int,
    contract: Contract = FP32_CONTRACT,
) -> Comparison:
    """Score the server's answers with the merged model and compare; a greedy answer is its model's best tokens."""
    rows = [
        encode_scored(prompt.id, [*prompt.ids_T.tolist(), *answer.token_ids], num_prompt=len(prompt.ids_T))
        for prompt, answer in zip(prompts, answers, strict=True)
    ]
    scores = score_probes(merged, rows, pack_tokens=pack_tokens)
    served = list(_to_scores(answers))
    return compare_scores(scores, served, names=[prompt.id for prompt in prompts], contract=contract)


def _to_scores(answers: Sequence[ServedAnswer]) -> Iterator[ProbeScores]:
    for answer in answers:
        ids_M = np.asarray(answer.token_ids, dtype=np.int64)
        yield ProbeScores(np.asarray(answer.logprobs, dtype=np.float64), ids_M, np.zeros(len(ids_M)))
