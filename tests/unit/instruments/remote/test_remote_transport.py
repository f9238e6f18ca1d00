"""Asking a server over HTTP: what comes back whole, and what every kind of wrong answer is called."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from luthier.foundation.core.errors import EnvironmentLacks
from luthier.foundation.schema.rows import FunctionCall, Message, ToolCall
from luthier.instruments.remote.clients.openai_compatible import OpenAICompatible, to_openai
from luthier.instruments.remote.transport import Transport, is_loopback

GOOD = {
    "prompt_token_ids": [1, 2, 3],
    "choices": [{"token_ids": [7, 2], "logprobs": {"content": [{"logprob": -0.5}, {"logprob": -0.25}]}}],
}


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    """Answer every request with what ``server.reply`` says and keep what was asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.asked.append((self.path, json.loads(body), dict(self.headers)))
            status, data = found.reply
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    found = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.asked, found.reply = [], (200, json.dumps(GOOD).encode())
    thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    found.shutdown()
    thread.join()
    found.server_close()


def open_transport(server: ThreadingHTTPServer, **options: str) -> Transport:
    return Transport(f"http://127.0.0.1:{server.server_address[1]}/v1", timeout_seconds=5, **options)


def test_an_answer_comes_back_with_ids_and_log_probabilities(server: ThreadingHTTPServer) -> None:
    call = ToolCall(id="call_1", function=FunctionCall(name="find", arguments="{}"))
    messages = (
        Message(role="user", content="where"),
        Message(role="assistant", tool_calls=(call,)),
        Message(role="tool", content="here", tool_call_id="call_1"),
    )
    with open_transport(server, api_key="key") as transport:
        answer = OpenAICompatible(transport, "desk").answer(messages, ({"type": "function"},), max_tokens=8)

    assert (answer.prompt_token_ids, answer.token_ids, answer.logprobs) == ((1, 2, 3), (7, 2), (-0.5, -0.25))
    path, body, headers = server.asked[0]
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer key"
    assert body["temperature"] == 0
    assert body["return_token_ids"] is True
    assert body["messages"][2] == {"role": "tool", "content": "here", "tool_call_id": "call_1"}
    assert body["messages"][1]["tool_calls"][0]["function"] == {"name": "find", "arguments": "{}"}
    assert body["tools"] == [{"type": "function"}]


@pytest.mark.parametrize(
    ("status", "data", "words"),
    [
        (500, b'{"error": {"message": "the worker died"}}', "the worker died"),
        (404, b'{"error": {"message": "no model of this name"}}', "status 404"),
        (200, b"<html>", "no JSON"),
        (200, b"\xff\xfe", "no JSON"),
        (200, b"[1, 2]", "status 200"),
        (200, b'{"choices": []}', "IndexError"),
        (200, json.dumps(GOOD | {"prompt_token_ids": None}).encode(), "TypeError"),
        (200, json.dumps({"choices": GOOD["choices"]}).encode(), "prompt_token_ids"),
    ],
)
def test_every_wrong_answer_is_one_typed_error(
    server: ThreadingHTTPServer, status: int, data: bytes, words: str
) -> None:
    server.reply = (status, data)
    with open_transport(server) as transport, pytest.raises(EnvironmentLacks) as caught:
        OpenAICompatible(transport, "desk").answer((Message(role="user", content="x"),), (), max_tokens=1)

    problem = caught.value.problems[0]
    assert problem.code == "E-DEP-006"
    assert words in problem.got
    assert problem.origin.startswith("http://127.0.0.1:")


def test_nobody_at_an_address_is_said_and_the_key_is_not_shown(server: ThreadingHTTPServer) -> None:
    with (
        Transport("http://127.0.0.1:9/v1", timeout_seconds=1, api_key="secret") as transport,
        pytest.raises(EnvironmentLacks) as caught,
    ):
        transport.get("/models")

    assert caught.value.code == "E-DEP-006"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:1/v1", True),
        ("http://[::1]:1", True),
        ("http://localhost", True),
        ("http://127.0.0.1.example.org", False),
        ("https://example.org", False),
        ("nothing", False),
    ],
)
def test_loopback_is_known_by_its_text(url: str, expected: bool) -> None:
    assert is_loopback(url) is expected


def test_a_message_without_calls_has_no_field_for_them() -> None:
    assert to_openai(Message(role="user", content="x", name="ann")) == {"role": "user", "content": "x", "name": "ann"}
