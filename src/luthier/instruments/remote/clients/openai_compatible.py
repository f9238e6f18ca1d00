"""Any server that speaks OpenAI's chat completions, ours too: ask it, and read token ids and log-probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from luthier.foundation.core.errors import EnvironmentLacks
from luthier.foundation.schema.rows import Message
from luthier.instruments.remote.transport import Transport


@dataclass(frozen=True, slots=True)
class ServedAnswer:
    """One greedy answer with what it was computed from.

    Attributes:
        prompt_token_ids: The prompt as the server rendered it; an extension of our server and of vLLM.
        token_ids: The answer's tokens, the ending one included.
        logprobs: Log-probability of each.

    Units:
        Nats.
    """

    prompt_token_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class OpenAICompatible:
    """One model behind one address."""

    transport: Transport
    model: str

    def answer(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]], *, max_tokens: int) -> ServedAnswer:
        """Ask for one greedy answer with its log-probabilities and token ids.

        Raises:
            EnvironmentLacks: E-DEP-006 when the server does not answer, or leaves out what was asked for.
        """
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [to_openai(message) for message in messages],
            "temperature": 0,
            "max_tokens": max_tokens,
            "logprobs": True,
            "return_token_ids": True,
        }
        if tools:
            body["tools"] = list(tools)
        found = self.transport.post("/chat/completions", body)
        try:
            choice = found["choices"][0]
            return ServedAnswer(
                tuple(int(token) for token in found["prompt_token_ids"]),
                tuple(int(token) for token in choice["token_ids"]),
                tuple(float(entry["logprob"]) for entry in choice["logprobs"]["content"]),
            )
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise EnvironmentLacks(
                "E-DEP-006",
                "the server's answer lacks token ids or log-probabilities",
                got=f"{type(error).__name__}: {error}",
                origin=self.transport.base_url,
                allowed="prompt_token_ids, choices[].token_ids and choices[].logprobs.content",
                fix="use `luthier serve`, or a server that knows return_token_ids",
            ) from error


def to_openai(message: Message) -> dict[str, Any]:
    """Return a message as OpenAI's API takes it."""
    shown: dict[str, Any] = {"role": message.role, "content": message.text}
    if message.name is not None:
        shown["name"] = message.name
    if message.tool_call_id is not None:
        shown["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        shown["tool_calls"] = [call.model_dump(mode="json") for call in message.tool_calls]
    return shown
