"""A model behind an address: it is asked for answers alone; what it would cost to weigh a text, nobody there says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from luthier.foundation.core.seeds import derive_seed
from luthier.foundation.schema.rows import Message, Row
from luthier.foundation.schema.serving import ChatRequest
from luthier.instruments.engine.runtimes.torch_batched.config import Config as RuntimeConfig
from luthier.instruments.remote.clients.openai_compatible import OpenAICompatible, Reply
from luthier.instruments.text.questions import Question
from luthier.instruments.text.tool_calls import name_calls, render_tool_calls

ASKED_AT_ONCE: Final = 8
MAX_SEED: Final = 2**31 - 1
"""Servers take seeds of 32 bits."""


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """Asks several questions at once, since servers compute together what waits together.

    Attributes:
        client: Speaks with the server; its transport belongs to whoever made it.
    """

    client: OpenAICompatible

    def answer(self, questions: Sequence[Question], max_new_tokens: int) -> Iterator[Reply]:
        """Answer questions greedily, in order.

        Raises:
            EnvironmentLacks: E-DEP-006 when the server does not answer.
        """
        requests = [
            ChatRequest(
                model=self.client.model,
                messages=name_calls(question.messages),
                tools=question.tools,
                max_tokens=max_new_tokens,
            )
            for question in questions
        ]
        yield from _ask_together(self.client.reply, requests)

    def generate(
        self, asked: Sequence[tuple[Row, Sequence[Message]]], config: RuntimeConfig, *, seed: int
    ) -> Iterator[dict[str, object]]:
        """Answer histories, in order; what a row's draws are does not depend on the rows beside it.

        Yields:
            ``{"id", "answer", "finish_reason", "num_tokens"}`` a row; no ``num_tokens`` where nobody counts them.

        Raises:
            EnvironmentLacks: E-DEP-006 when the server does not answer.
        """
        requests = [
            ChatRequest(
                model=self.client.model,
                messages=name_calls(history),
                tools=row.tools,
                max_tokens=config.max_new_tokens,
                temperature=config.temperature,
                top_p=config.top_p,
                seed=derive_seed(seed, "generate", row.id) % MAX_SEED,
            )
            for row, history in asked
        ]
        for (row, _), reply in zip(asked, _ask_together(self.client.reply, requests), strict=True):
            counted = {} if reply.num_tokens is None else {"num_tokens": reply.num_tokens}
            answer = render_tool_calls(reply.content, reply.calls)
            yield {"id": row.id, "answer": answer, "finish_reason": reply.finish_reason, **counted}


def _ask_together(ask: Callable[[ChatRequest], Reply], requests: Sequence[ChatRequest]) -> Iterator[Reply]:
    """Ask in threads and yield replies in order; after a failure nothing more is asked, and nobody waits."""
    pool = ThreadPoolExecutor(max_workers=ASKED_AT_ONCE)
    try:
        yield from pool.map(ask, requests)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
