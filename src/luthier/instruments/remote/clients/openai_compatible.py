"""Any server that speaks OpenAI's chat completions, ours too: ask it, and read what it says.

:meth:`OpenAICompatible.answer` is the certificate's: greedy, with token ids and log-probabilities. ``reply`` and
``stream`` ask for nothing that only our server knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.foundation.core.errors import EnvironmentLacks
from luthier.foundation.schema.rows import FunctionCall, Message, ToolCall
from luthier.foundation.schema.serving import ChatRequest
from luthier.instruments.remote.transport import Transport

COMPLETIONS = "/chat/completions"


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
class Reply:
    """One answer as any server gives it.

    Attributes:
        content: The text; empty where the answer is calls alone.
        calls: Tool calls, as the server read them.
        finish_reason: As the server says it.
        num_tokens: Tokens of the answer; None where the server does not count them.
    """

    content: str
    calls: tuple[ToolCall, ...]
    finish_reason: str
    num_tokens: int | None


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of an answer that is under way; the last has a ``finish_reason``."""

    text: str
    finish_reason: str | None


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
        request = ChatRequest(model=self.model, messages=tuple(messages), tools=tuple(tools), max_tokens=max_tokens)
        body = _to_body(request) | {"logprobs": True, "return_token_ids": True}
        if tools:
            body["tools_as_given"] = True  # a model is asked with what it was trained with, be it a schema or none
        found = self.transport.post(COMPLETIONS, body)
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

    def reply(self, request: ChatRequest) -> Reply:
        """Ask for one answer; the request's model is this one's, whatever it says.

        Raises:
            EnvironmentLacks: E-DEP-006 when the server does not answer, or not with a message.
        """
        found = self.transport.post(COMPLETIONS, self._to_own_body(request))
        try:
            choice = found["choices"][0]
            message, usage = choice["message"], found.get("usage")
            num_tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
            return Reply(
                content=_read_text(message.get("content")),
                calls=tuple(_read_call(call) for call in message.get("tool_calls") or ()),
                finish_reason=_read_text(choice.get("finish_reason")),
                num_tokens=num_tokens if isinstance(num_tokens, int) else None,
            )
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise self._refuse(error) from error

    def stream(self, request: ChatRequest) -> Iterator[Piece]:
        """Ask for one answer and yield its text as it comes; a last piece says how it ended.

        Raises:
            EnvironmentLacks: E-DEP-006 when the server does not answer, or breaks off.
        """
        finish_reason: str | None = None
        for event in self.transport.stream(COMPLETIONS, self._to_own_body(request) | {"stream": True}):
            try:
                choices = event.get("choices") or [{}]  # such as an event with the usage alone
                text = _read_text((choices[0].get("delta") or {}).get("content"))
                finish_reason = choices[0].get("finish_reason") or finish_reason
            except (KeyError, IndexError, TypeError, AttributeError) as error:
                raise self._refuse(error) from error
            if text:
                yield Piece(text, None)
        if finish_reason is None:
            raise self._refuse(EOFError("the answer broke off"))
        yield Piece("", str(finish_reason))

    def _to_own_body(self, request: ChatRequest) -> dict[str, Any]:
        return _to_body(request.model_copy(update={"model": self.model}))

    def _refuse(self, error: Exception) -> EnvironmentLacks:
        return EnvironmentLacks(
            "E-DEP-006",
            "the server's answer holds no message",
            got=f"{type(error).__name__}: {error}",
            origin=self.transport.base_url,
            allowed="choices[0].message with content or tool_calls, or events with choices[0].delta",
            fix="name a model that answers chats; `curl ADDRESS/models` lists what there is",
        )


def _to_body(request: ChatRequest) -> dict[str, Any]:
    """Return a request as OpenAI's API takes it; what has its default there is left out."""
    body: dict[str, Any] = {
        "model": request.model,
        "messages": [to_openai(message) for message in request.messages],
        "temperature": request.temperature,
    }
    if request.max_tokens is not None:
        body["max_tokens"] = request.max_tokens
    if request.temperature:
        body |= {"top_p": request.top_p} if request.top_p < 1 else {}
        body |= {"seed": request.seed} if request.seed is not None else {}
    if request.tools:
        body["tools"] = list(request.tools)
    return body


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


def _read_text(value: object) -> str:
    if value is not None and not isinstance(value, str):
        message = f"{type(value).__name__} where a text belongs"
        raise TypeError(message)
    return value or ""


def _read_call(call: Mapping[str, Any]) -> ToolCall:
    function = call["function"]
    arguments = FunctionCall(name=_read_text(function["name"]), arguments=_read_text(function.get("arguments")))
    return ToolCall(id=_read_text(call.get("id")), function=arguments)
