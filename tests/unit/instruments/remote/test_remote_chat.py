"""Asking any server that speaks OpenAI's chat API: whole answers, answers in pieces, and servers that are busy."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from luthier.foundation.core.errors import EnvironmentLacks
from luthier.foundation.schema.rows import Message
from luthier.foundation.schema.serving import ChatRequest
from luthier.instruments.remote.clients.openai_compatible import OpenAICompatible
from luthier.instruments.remote.transport import Transport
from tests.fixtures.scripted_server import Script, run_scripted_server

ASKED = ChatRequest(model="any", messages=(Message(role="user", content="hello"),))
GOOD = {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}], "usage": {"completion_tokens": 2}}


@pytest.fixture
def script() -> Iterator[Script]:
    with run_scripted_server() as found:
        yield found


def write_events(*events: object) -> bytes:
    """Write server-sent events as OpenAI's API does."""
    lines = [f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n" for event in events]
    return "".join([": a comment\n\n", *lines]).encode()


def piece(content: str | None, finish_reason: str | None = None) -> dict[str, object]:
    return {"choices": [{"delta": {"content": content}, "finish_reason": finish_reason}]}


def test_a_reply_has_text_calls_and_count_and_a_request_only_what_every_server_knows(script: Script) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"id": 3}'}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    script.say({"choices": [{"message": message, "finish_reason": "tool_calls"}]})
    script.say(GOOD)
    with Transport(script.url, timeout_seconds=5) as transport:
        client = OpenAICompatible(transport, "org/desk")
        first = client.reply(ASKED)
        drawn = {"temperature": 0.5, "top_p": 0.9, "seed": 7, "max_tokens": 9, "tools": ({"type": "function"},)}
        second = client.reply(ASKED.model_copy(update=drawn))

    assert (first.content, first.finish_reason, first.num_tokens) == ("", "tool_calls", None)
    assert [(one.function.name, one.function.arguments) for one in first.calls] == [("find", '{"id": 3}')]
    assert (second.content, second.calls, second.num_tokens) == ("hi", (), 2)
    messages = [{"role": "user", "content": "hello"}]
    assert script.asked[0][1] == {"model": "org/desk", "messages": messages, "temperature": 0.0}
    assert script.asked[1][1] == {"model": "org/desk", "messages": messages, **drawn, "tools": [{"type": "function"}]}


def test_a_stream_gives_pieces_as_they_come_and_says_how_it_ended(script: Script) -> None:
    usage = {"choices": [], "usage": {"completion_tokens": 2}}
    events = [piece(""), piece("Gr"), piece("ü"), piece(None, "length"), usage, "[DONE]", "nothing after it is read"]
    script.say(write_events(*events))
    with Transport(script.url, timeout_seconds=5) as transport:
        pieces = list(OpenAICompatible(transport, "desk").stream(ASKED))

    assert [(one.text, one.finish_reason) for one in pieces] == [("Gr", None), ("ü", None), ("", "length")]
    assert script.asked[0][1]["stream"] is True


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        (write_events(piece("a")), 200, "broke off"),
        (write_events(piece("a"), {"error": {"message": "the worker died"}}), 200, "the worker died"),
        (write_events("{half"), 200, "no JSON"),
        (write_events("[1]"), 200, "[1]"),
        (write_events({"choices": [{"delta": {"content": 3}}]}), 200, "TypeError"),
        (b"data: " + b"x" * (2 << 20), 200, "more than 1 MiB"),
        (b"<html>", 200, "broke off"),
        (b'{"error": {"message": "no such model"}}', 404, "no such model"),
    ],
)
def test_a_stream_that_goes_wrong_is_one_typed_error(script: Script, data: bytes, status: int, words: str) -> None:
    script.say(data, status=status)
    with Transport(script.url, timeout_seconds=5) as transport, pytest.raises(EnvironmentLacks) as caught:
        list(OpenAICompatible(transport, "desk").stream(ASKED))
    problem = caught.value.problems[0]
    assert (problem.code, caught.value.exit_code) == ("E-DEP-006", 4)
    assert words in str(problem.got)


@pytest.mark.parametrize(
    "choice", [{}, {"message": None}, {"message": {"content": ["a"]}}, {"message": {"tool_calls": 3}}]
)
def test_a_reply_without_a_message_is_one_typed_error(script: Script, choice: dict[str, object]) -> None:
    script.say({"choices": [choice]})
    with Transport(script.url, timeout_seconds=5) as transport, pytest.raises(EnvironmentLacks) as caught:
        OpenAICompatible(transport, "desk").reply(ASKED)
    assert caught.value.code == "E-DEP-006"
    assert caught.value.problems[0].fix


def test_a_busy_server_is_asked_again_after_the_time_that_it_says(script: Script) -> None:
    script.say({"error": {"message": "full"}}, status=429, Retry_After="3")
    script.say({"error": {"message": "starting"}}, status=503)
    script.say({"error": {"message": "full"}}, status=429, Retry_After="99999")
    script.say(GOOD)
    waited: list[float] = []
    with Transport(script.url, timeout_seconds=5, num_retries=3, pause=waited.append) as transport:
        assert OpenAICompatible(transport, "desk").reply(ASKED).content == "hi"
    assert waited == [3.0, 2.0, 60.0], "what it says, twice as long each time where it says nothing, a minute at most"


def test_a_server_that_stays_busy_is_given_up(script: Script) -> None:
    script.say({"error": {"message": "the queue is full"}}, status=429)
    waited: list[float] = []
    with (
        Transport(script.url, timeout_seconds=5, num_retries=2, pause=waited.append) as transport,
        pytest.raises(EnvironmentLacks, match="the queue is full"),
    ):
        OpenAICompatible(transport, "desk").reply(ASKED)
    assert (waited, len(script.asked)) == ([1.0, 2.0], 3)
