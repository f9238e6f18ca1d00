"""Answers as OpenAI writes them: whole completions, chunks of a stream, log-probabilities, counts."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from luthier.foundation.schema.serving import Delta, FinishReason, ServedModel, TokenLogprob
from luthier.server.failures import to_json_bytes

LEAST_LOGPROB: Final = -9999.0
"""What the API says where a probability is zero; JSON has no infinity."""

STREAM_END: Final = b"data: [DONE]\n\n"


def make_response_id() -> str:
    """Return a new name for one completion."""
    return f"chatcmpl-{secrets.token_hex(12)}"


def write_model(model: ServedModel) -> dict[str, object]:
    """Write one entry of ``/v1/models``; ``root``, ``parent`` and ``max_model_len`` are vLLM's names."""
    return {
        "id": model.name,
        "object": "model",
        "created": model.created,
        "owned_by": "luthier",
        "root": model.ref,
        "parent": model.base,
        "max_model_len": model.max_positions,
        "digest": model.digest,
    }


@dataclass(slots=True)
class Answer:
    """One of the ``n`` answers as it grows."""

    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    sum_logprob: float | None = None
    logprobs: list[TokenLogprob] = field(default_factory=list)
    tool_calls: tuple[dict[str, Any], ...] = ()
    finish_reason: FinishReason | None = None

    def add(self, delta: Delta) -> None:
        """Append one piece."""
        self.text += delta.text
        self.token_ids += delta.token_ids
        if delta.sum_logprob is not None:
            self.sum_logprob = (self.sum_logprob or 0.0) + delta.sum_logprob
        self.logprobs += delta.logprobs
        self.tool_calls = self.tool_calls or delta.tool_calls
        self.finish_reason = delta.finish_reason or self.finish_reason


@dataclass(frozen=True, slots=True)
class Head:
    """What all parts of one response say of it."""

    response_id: str
    created: int
    model: ServedModel

    def write(self, kind: str) -> dict[str, object]:
        """Return the fields that whole answers and chunks share."""
        return {
            "id": self.response_id,
            "object": kind,
            "created": self.created,
            "model": self.model.name,
            "system_fingerprint": f"fp_{self.model.digest[:12]}",
        }


def write_usage(num_prompt_tokens: int, num_completion_tokens: int) -> dict[str, int]:
    """Write the counts of tokens."""
    return {
        "prompt_tokens": num_prompt_tokens,
        "completion_tokens": num_completion_tokens,
        "total_tokens": num_prompt_tokens + num_completion_tokens,
    }


def write_logprobs(logprobs: Iterable[TokenLogprob]) -> dict[str, object]:
    """Write log-probabilities in nats, one for each token."""
    return {
        "content": [
            {
                **_write_token(item.token, item.logprob),
                "top_logprobs": [_write_token(token, logprob) for _, token, logprob in item.top],
            }
            for item in logprobs
        ],
        "refusal": None,
    }


def _write_token(token: str, logprob: float) -> dict[str, object]:
    is_whole = "\ufffd" not in token and not any("\ud800" <= character <= "\udfff" for character in token)
    return {
        "token": token,
        "logprob": max(logprob, LEAST_LOGPROB),
        "bytes": list(token.encode("utf-8")) if is_whole else None,
    }


def write_tool_calls(calls: Sequence[Mapping[str, Any]], *, with_index: bool) -> list[dict[str, Any]]:
    """Write parsed calls; one that came without an id gets one, since clients answer by id."""
    return [
        {
            **({"index": index} if with_index else {}),
            "id": call.get("id") or f"call_{secrets.token_hex(12)}",
            "type": "function",
            "function": call["function"],
        }
        for index, call in enumerate(calls)
    ]


def write_completion(
    head: Head, answers: Sequence[Answer], prompt_token_ids: Sequence[int], *, with_logprobs: bool, with_token_ids: bool
) -> bytes:
    """Write a whole answer."""
    choices: list[dict[str, object]] = []
    for index, answer in enumerate(answers):
        message: dict[str, object] = {"role": "assistant", "content": answer.text, "refusal": None}
        if answer.tool_calls:
            message["content"] = answer.text or None
            message["tool_calls"] = write_tool_calls(answer.tool_calls, with_index=False)
        choices.append(
            {
                "index": index,
                "message": message,
                "logprobs": write_logprobs(answer.logprobs) if with_logprobs else None,
                "finish_reason": answer.finish_reason,
                **({"token_ids": answer.token_ids} if with_token_ids else {}),
            }
        )
    usage = write_usage(len(prompt_token_ids), sum(len(answer.token_ids) for answer in answers))
    ids = {"prompt_token_ids": list(prompt_token_ids)} if with_token_ids else {}
    return to_json_bytes({**head.write("chat.completion"), "choices": choices, "usage": usage, **ids})


def to_event(value: object) -> bytes:
    """Frame one server-sent event."""
    return b"data: " + to_json_bytes(value) + b"\n\n"


@dataclass(slots=True)
class ChunkWriter:
    """Writes the events of one stream."""

    head: Head
    prompt_token_ids: Sequence[int]
    with_usage: bool
    with_logprobs: bool
    with_token_ids: bool
    _begun: set[int] = field(default_factory=set)

    def write_delta(self, delta: Delta) -> bytes:
        """Write one piece: the role before an answer's first, the finish reason after its last."""
        events = b""
        if delta.index not in self._begun:
            is_first = not self._begun
            self._begun.add(delta.index)
            events += self._write_chunk(delta.index, {"role": "assistant", "content": ""}, is_first=is_first)
        extras = self._write_extras(delta)
        if delta.text or delta.tool_calls or extras:
            content: dict[str, object] = {"content": delta.text} if delta.text or not delta.tool_calls else {}
            if delta.tool_calls:
                content["tool_calls"] = write_tool_calls(delta.tool_calls, with_index=True)
            events += self._write_chunk(delta.index, content, extras=extras)
        if delta.finish_reason:
            events += self._write_chunk(delta.index, {}, finish_reason=delta.finish_reason)
        return events

    def write_end(self, num_completion_tokens: int) -> bytes:
        """Write the counts, where they were asked for, and the end."""
        if not self.with_usage:
            return STREAM_END
        usage = write_usage(len(self.prompt_token_ids), num_completion_tokens)
        return to_event({**self.head.write("chat.completion.chunk"), "choices": [], "usage": usage}) + STREAM_END

    def _write_extras(self, delta: Delta) -> dict[str, object]:
        extras: dict[str, object] = {}
        if self.with_logprobs and delta.logprobs:
            extras["logprobs"] = write_logprobs(delta.logprobs)
        if self.with_token_ids and delta.token_ids:
            extras["token_ids"] = list(delta.token_ids)
        return extras

    def _write_chunk(
        self,
        index: int,
        delta: Mapping[str, object],
        *,
        extras: Mapping[str, object] | None = None,
        finish_reason: FinishReason | None = None,
        is_first: bool = False,
    ) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason, **(extras or {})}
        chunk = {**self.head.write("chat.completion.chunk"), "choices": [choice]}
        if self.with_usage:
            chunk["usage"] = None
        if is_first and self.with_token_ids:
            chunk["prompt_token_ids"] = list(self.prompt_token_ids)
        return to_event(chunk)
