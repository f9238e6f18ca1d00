"""The body of ``POST /v1/chat/completions``, checked field by field before anything is computed.

What other servers can do and this one cannot is refused, never ignored; the few fields in ``IGNORED`` change no answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from luthier.foundation.schema.serving import ChatRequest
from luthier.server.fields import (
    check_keys,
    read_bool,
    read_int,
    read_number,
    read_text,
    refuse_unsupported,
    refuse_value,
)
from luthier.server.messages import read_messages
from luthier.server.options import ServerOptions
from luthier.server.tools import read_tools

MAX_MODEL_CHARACTERS: Final = 256
MAX_STOPS: Final = 4
MAX_STOP_CHARACTERS: Final = 256
MAX_TOP_LOGPROBS: Final = 20
SEEDS: Final = (-(2**63), 2**63 - 1)

READ: Final = frozenset({
    "model", "messages", "tools", "tool_choice", "max_tokens", "max_completion_tokens", "temperature", "top_p", "seed",
    "stop", "n", "logprobs", "top_logprobs", "stream", "stream_options", "return_token_ids",
    "tools_as_given",
})  # fmt: skip
IGNORED: Final = frozenset({
    "user", "metadata", "store", "parallel_tool_calls", "service_tier", "safety_identifier", "prompt_cache_key",
    "prompt_cache_options", "prompt_cache_retention",
})  # fmt: skip
NEUTRAL: Final[Mapping[str, tuple[object, ...]]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "functions": ([],),
    "function_call": (),
    "audio": (),
    "prediction": (),
    "moderation": (),
    "reasoning_effort": (),
    "verbosity": (),
    "web_search_options": (),
}
"""Fields of the API that are not built, with the values that ask for nothing; null asks for nothing everywhere."""


@dataclass(frozen=True, slots=True)
class ChatCall:
    """A request and how its answer shall be written.

    Attributes:
        with_usage: Whether a stream ends with the counts of tokens.
        with_token_ids: Whether the answer carries the ids of prompt and answer (our extension, vLLM's names).
    """

    request: ChatRequest
    is_streaming: bool
    with_usage: bool
    with_token_ids: bool


def read_chat_call(body: Mapping[str, Any], options: ServerOptions) -> ChatCall:
    """Check a body and make a request of it.

    Raises:
        ServeError: E-SRV-023 for a value out of bounds, E-SRV-024 for an unknown field, E-SRV-025 for what is not
            built, E-SRV-026 for messages and E-SRV-027 for tools that are none.
    """
    check_keys(body, READ | IGNORED | set(NEUTRAL))
    _check_neutral(body)
    is_streaming = read_bool(body, "stream")
    request = ChatRequest(
        model=read_model_name(body),
        n=read_int(body, "n", 1, options.max_n) or 1,
        max_tokens=_read_max_tokens(body, options.max_tokens_cap),
        temperature=read_number(body, "temperature", 0.0, 2.0) or 0.0,
        top_p=_read_top_p(body),
        seed=read_int(body, "seed", *SEEDS),
        stop=_read_stops(body.get("stop")),
        top_logprobs=_read_top_logprobs(body),
        tools=read_tools(body.get("tools"), as_given=read_bool(body, "tools_as_given")),
        tool_choice=_read_tool_choice(body.get("tool_choice")),
        messages=read_messages(body.get("messages"), max_messages=options.max_messages),
    )
    return ChatCall(
        request=request,
        is_streaming=is_streaming,
        with_usage=_read_stream_options(body.get("stream_options"), is_streaming=is_streaming),
        with_token_ids=read_bool(body, "return_token_ids"),
    )


def _check_neutral(body: Mapping[str, Any]) -> None:
    for field, neutral in NEUTRAL.items():
        value = body.get(field)
        if value is not None and (isinstance(value, bool) or value not in neutral):
            refuse_unsupported(
                field,
                got=value,
                allowed=" or ".join(["absent", *(str(allowed) for allowed in neutral)]),
                fix="send the functions as tools" if field.startswith("function") else f"leave {field} out",
            )


def read_model_name(body: Mapping[str, Any]) -> str:
    """Read which model is asked for; whether it is served is another question.

    Raises:
        ServeError: E-SRV-023.
    """
    name = read_text(body, "model", "model", max_characters=MAX_MODEL_CHARACTERS)
    if not name:
        refuse_value("model", "is missing", got=name, allowed="a name that GET /v1/models lists")
    return name


def _read_max_tokens(body: Mapping[str, Any], cap: int) -> int | None:
    new = read_int(body, "max_completion_tokens", 1, cap)
    old = read_int(body, "max_tokens", 1, cap)
    if new is not None and old is not None and new != old:
        refuse_value("max_tokens", "contradicts max_completion_tokens", got=old, allowed=str(new))
    return old if new is None else new


def _read_top_p(body: Mapping[str, Any]) -> float:
    top_p = read_number(body, "top_p", 0.0, 1.0)
    if top_p == 0.0:
        refuse_value("top_p", "leaves nothing to draw from", got=0, allowed="more than 0, at most 1")
    return 1.0 if top_p is None else top_p


def _read_stops(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or len(stops) > MAX_STOPS:
        refuse_value("stop", "is no stop text", got=value, allowed=f"a text or a list of at most {MAX_STOPS} texts")
    for stop in stops:
        if not isinstance(stop, str) or not 0 < len(stop) <= MAX_STOP_CHARACTERS:
            refuse_value("stop", "is no stop text", got=stop, allowed=f"1 to {MAX_STOP_CHARACTERS} characters")
    return tuple(stops)


def _read_top_logprobs(body: Mapping[str, Any]) -> int | None:
    top = read_int(body, "top_logprobs", 0, MAX_TOP_LOGPROBS)
    if not read_bool(body, "logprobs"):
        if top is not None:
            refuse_value("top_logprobs", "needs logprobs", got=top, allowed='absent, or with "logprobs": true')
        return None
    return top or 0


def _read_tool_choice(value: object) -> Literal["auto", "none"]:
    if value is None or value == "auto":
        return "auto"
    if value == "none":
        return "none"
    if value == "required" or isinstance(value, dict):
        refuse_unsupported("tool_choice", got=value, allowed="auto or none", fix="leave tool_choice out")
    return refuse_value("tool_choice", "is no choice", got=value, allowed="auto or none")


def _read_stream_options(value: object, *, is_streaming: bool) -> bool:
    if value is None:
        return False
    if not isinstance(value, dict):
        refuse_value("stream_options", "is no object", got=value, allowed='{"include_usage": true}')
    check_keys(value, ("include_usage", "include_obfuscation"), field="stream_options")
    if not is_streaming:
        refuse_value("stream_options", "needs a stream", got=value, allowed='absent, or with "stream": true')
    if read_bool(value, "include_obfuscation"):
        refuse_unsupported(
            "stream_options.include_obfuscation", got=True, allowed="false", fix="leave include_obfuscation out"
        )
    return read_bool(value, "include_usage")
