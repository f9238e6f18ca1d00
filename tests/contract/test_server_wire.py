"""The bytes on the wire are OpenAI's: answers fit the SDK's own types, and streams are framed as it reads them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx2
import pytest
from openai.types import Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from luthier.foundation.schema.serving import Delta, ServedModel, TokenLogprob
from luthier.server.app import build_app
from luthier.server.options import ServerOptions
from luthier.server.wire import Answer, ChunkWriter, Head, write_completion, write_logprobs
from tests.fixtures.stub_runtime import DIGEST, StubRuntime

USER = {"role": "user", "content": "one two three"}
MODEL = ServedModel(name="m", ref="release:m", digest=DIGEST, base="tiny", max_positions=512)
HEAD = Head("chatcmpl-1", 7, MODEL)


def ask(**body: Any) -> httpx2.Response:
    """Answer one request over the stub runtime."""

    async def send() -> httpx2.Response:
        app = build_app(StubRuntime(), ServerOptions(), extensions=())
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://localhost") as client:
            return await client.post("/v1/chat/completions", json={"model": "echo", "messages": [USER], **body})

    return asyncio.run(send())


def read_events(answer: httpx2.Response) -> list[dict[str, Any]]:
    """Parse a stream by the rules of server-sent events that we use: `data: ` lines, blank lines between."""
    assert answer.headers["content-type"].startswith("text/event-stream")
    *frames, end, rest = answer.text.split("\n\n")
    assert (end, rest) == ("data: [DONE]", "")
    assert all(frame.startswith("data: ") and "\n" not in frame for frame in frames)
    return [json.loads(frame[6:]) for frame in frames]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"n": 3},
        {"max_tokens": 1},
        {"logprobs": True, "top_logprobs": 3},
        {"model": "calls_tool"},
        {"model": "empty"},
        {"return_token_ids": True},
    ],
)
def test_answers_and_chunks_are_what_the_sdk_declares(body: dict[str, Any]) -> None:
    ChatCompletion.model_validate(ask(**body).json())
    for event in read_events(ask(**body, stream=True, stream_options={"include_usage": True})):
        ChatCompletionChunk.model_validate(event)
        assert set(event) >= {"id", "object", "created", "model", "choices", "usage"}


def test_a_whole_answer_is_these_bytes() -> None:
    answer = ask(max_tokens=2, return_token_ids=True).json()

    assert answer.pop("id").startswith("chatcmpl-")
    assert isinstance(answer.pop("created"), int)
    assert answer == {
        "object": "chat.completion",
        "model": "echo",
        "system_fingerprint": "fp_" + "ab" * 6,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "one two ", "refusal": None},
                "logprobs": None,
                "finish_reason": "length",
                "token_ids": [4, 4],
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        "prompt_token_ids": [4, 4, 5],
    }


def test_a_stream_is_the_whole_answer_in_pieces() -> None:
    body = {"n": 2, "logprobs": True, "top_logprobs": 1, "return_token_ids": True}
    whole = ask(**body).json()
    events = read_events(ask(**body, stream=True, stream_options={"include_usage": True}))

    assert len({event["id"] for event in events}) == 1
    assert events[0]["prompt_token_ids"] == whole["prompt_token_ids"]
    assert sum("prompt_token_ids" in event for event in events) == 1
    assert events[-1]["choices"] == []
    assert [event["usage"] for event in events] == [None] * (len(events) - 1) + [whole["usage"]]
    for choice in whole["choices"]:
        parts = [part for event in events for part in event["choices"] if part["index"] == choice["index"]]
        assert parts[0]["delta"] == {"role": "assistant", "content": ""}
        assert "".join(part["delta"].get("content") or "" for part in parts) == choice["message"]["content"]
        assert [part["finish_reason"] for part in parts] == [None] * (len(parts) - 1) + [choice["finish_reason"]]
        assert [i for part in parts for i in part.get("token_ids", [])] == choice["token_ids"]
        scored = [item for part in parts if part["logprobs"] for item in part["logprobs"]["content"]]
        assert scored == choice["logprobs"]["content"]


def test_a_stream_without_usage_says_nothing_of_it() -> None:
    assert all("usage" not in event for event in read_events(ask(stream=True)))


def test_tool_calls_have_ids_and_no_empty_content() -> None:
    message = ask(model="calls_tool").json()["choices"][0]["message"]
    events = read_events(ask(model="calls_tool", stream=True))

    assert message["content"] is None
    assert message["tool_calls"][0]["id"].startswith("call_")
    assert message["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city": "Rome"}'}
    assert "index" not in message["tool_calls"][0]
    called = [
        part["delta"]["tool_calls"] for event in events for part in event["choices"] if "tool_calls" in part["delta"]
    ]
    assert [(call["index"], call["function"]["name"]) for calls in called for call in calls] == [(0, "weather")]
    assert events[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_an_empty_answer_is_an_empty_text() -> None:
    assert ask(model="empty").json()["choices"][0]["message"]["content"] == ""


def test_models_are_what_the_sdk_declares() -> None:
    async def get() -> httpx2.Response:
        app = build_app(StubRuntime(), ServerOptions(), extensions=())
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://localhost") as client:
            return await client.get("/v1/models")

    listed = asyncio.run(get()).json()
    assert listed["object"] == "list"
    for entry in listed["data"]:
        assert Model.model_validate(entry).id == entry["id"]


def test_a_probability_of_zero_and_half_a_character_can_be_written() -> None:
    """JSON has no infinity; a token that is not whole UTF-8 has no bytes that we know."""
    half = "\ufffd"
    written = write_logprobs([TokenLogprob(token_id=1, token=half, logprob=float("-inf"), top=((2, "é", -0.5),))])

    assert written["content"] == [
        {
            "token": "\ufffd",
            "logprob": -9999.0,
            "bytes": None,
            "top_logprobs": [{"token": "é", "logprob": -0.5, "bytes": [195, 169]}],
        }
    ]


def test_any_text_survives_the_wire() -> None:
    text = "line\n\ndata: [DONE]\n\n\u2028 é \U0001f600 \x00 </script>"
    answer = Answer()
    answer.add(Delta(index=0, text=text, token_ids=(1,), finish_reason="stop"))
    whole = json.loads(write_completion(HEAD, [answer], [], with_logprobs=False, with_token_ids=False))
    writer = ChunkWriter(HEAD, [], with_usage=False, with_logprobs=False, with_token_ids=False)
    frames = writer.write_delta(Delta(index=0, text=text, token_ids=(1,), finish_reason="stop")).decode("ascii")

    assert whole["choices"][0]["message"]["content"] == text
    events = [json.loads(frame[6:]) for frame in frames.split("\n\n") if frame]
    assert [event["choices"][0]["delta"].get("content") for event in events] == ["", text, None]


def test_pieces_without_news_are_not_sent() -> None:
    """Half a character: tokens came, no text is certain yet, and nobody asked for ids."""
    writer = ChunkWriter(HEAD, [], with_usage=False, with_logprobs=False, with_token_ids=False)
    writer.write_delta(Delta(index=0, text="a", token_ids=(1,)))

    assert writer.write_delta(Delta(index=0, token_ids=(2,))) == b""
