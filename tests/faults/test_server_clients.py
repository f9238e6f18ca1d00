"""Clients that misbehave, and a server that must stop: real sockets against a process over the stub runtime."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from luthier.foundation.core.errors import EnvironmentLacks, RecipeError
from luthier.server.options import is_loopback
from luthier.server.process import ServerOptions, check_options, open_listener
from tests.fixtures.stub_server import ROOT, run_stub_server

pytestmark = pytest.mark.fault

QUICK = {"header_seconds": 0.5, "body_seconds": 0.5, "write_seconds": 0.5, "drain_seconds": 20}
HEADERS = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with run_stub_server(**QUICK) as (address, _):
        yield address


def connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), timeout=30)


def read_to_end(client: socket.socket) -> bytes:
    received = b""
    while piece := client.recv(65_536):
        received += piece
    return received


def read_error(received: bytes) -> tuple[int, str]:
    """Return status and code of a raw answer, which must carry an id and our envelope."""
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"x-request-id: " in head
    return int(head.split()[1]), json.loads(body)["error"]["code"]


def ask(url: str, **body: Any) -> httpx2.Response:
    body = {"model": "echo", "messages": [{"role": "user", "content": "hello there"}], **body}
    return httpx2.post(f"{url}/chat/completions", json=body, timeout=30)


def read_state(url: str) -> dict[str, int]:
    """Ask the stub how many requests run and how many were cancelled."""
    state: dict[str, int] = json.loads(ask(url, model="status").json()["choices"][0]["message"]["content"])
    return state


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)


def send_chat(url: str, model: str) -> socket.socket:
    """Ask for a streamed answer over a raw socket."""
    body = json.dumps({"model": model, "stream": True, "messages": [{"role": "user", "content": "a b c d e"}]}).encode()
    client = connect(url)
    client.sendall(HEADERS + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    return client


def start_stream(url: str, model: str = "unending") -> socket.socket:
    """Ask for a streamed answer and read its first bytes."""
    client = send_chat(url, model)
    assert client.recv(1024).startswith(b"HTTP/1.1 200")
    return client


@pytest.mark.parametrize("sent", [b"", b"P", b"POST /v1/chat", HEADERS])
def test_headers_that_never_end_are_answered_408_and_closed(url: str, sent: bytes) -> None:
    with connect(url) as client:
        client.sendall(sent)

        assert read_error(read_to_end(client)) == (408, "E-SRV-022")


def test_a_body_that_never_ends_is_answered_408_and_closed(url: str) -> None:
    with connect(url) as client:
        client.sendall(HEADERS + b"Content-Length: 1000\r\n\r\n{")

        assert read_error(read_to_end(client)) == (408, "E-SRV-022")


def test_a_crowd_beyond_the_bound_is_told_so_and_keeps_nobody_out_once_it_left() -> None:
    with run_stub_server(max_connections=3) as (url, _):
        crowd = [connect(url) for _ in range(3)]
        with connect(url) as one_more:
            assert read_error(read_to_end(one_more)) == (503, "E-SRV-033")
        for client in crowd:
            client.close()

        wait_until(lambda: ask(url).status_code == 200)


def test_clients_that_only_might_ask_again_make_room() -> None:
    with run_stub_server(max_connections=3) as (url, _):
        waiting = [httpx2.Client(timeout=60) for _ in range(3)]
        for client in waiting:
            assert client.get(f"{url}/models").status_code == 200

        assert [ask(url).status_code for _ in range(3)] == [200, 200, 200]
        for client in waiting:
            client.close()


def test_what_is_no_http_gets_our_envelope(url: str) -> None:
    for sent in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 50,
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/9\r\n\r\n",
    ):
        with connect(url) as client:
            client.sendall(sent)

            assert read_error(read_to_end(client)) == (400, "E-SRV-030")


def test_a_chunk_that_is_none_is_refused_before_anything_runs(url: str) -> None:
    with connect(url) as client:
        client.sendall(HEADERS + b"Transfer-Encoding: chunked\r\n\r\nnot a length\r\n")

        assert read_error(read_to_end(client)) == (400, "E-SRV-030")


def test_a_message_of_ten_megabytes_is_refused_and_the_client_learns_why(url: str) -> None:
    """The client sends all of it before it reads; closing early would throw the answer away with the rest."""
    body = json.dumps({"model": "echo", "messages": [{"role": "user", "content": "x" * 10_000_000}]}).encode()
    with connect(url) as client:
        client.sendall(HEADERS + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        answer = read_to_end(client)

    assert b"connection: close" in answer
    assert read_error(answer) == (413, "E-SRV-021")


def test_a_client_that_leaves_frees_its_slot(url: str) -> None:
    before = read_state(url)["cancelled"]
    clients = [start_stream(url) for _ in range(4)]
    assert read_state(url)["running"] == 4

    for client in clients:
        client.close()

    wait_until(lambda: read_state(url) == {"running": 0, "cancelled": before + 4})


def test_a_client_that_leaves_before_a_whole_answer_frees_its_slot_too(url: str) -> None:
    before = read_state(url)["cancelled"]
    body = json.dumps({"model": "unending", "messages": [{"role": "user", "content": "x"}]}).encode()
    with connect(url) as client:
        client.sendall(HEADERS + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        wait_until(lambda: read_state(url)["running"] == 1)

    wait_until(lambda: read_state(url)["running"] == 0)
    assert read_state(url)["cancelled"] == before + 1


def test_a_client_that_stops_reading_is_dropped(url: str) -> None:
    """What nobody reads fills the kernel's buffers, then ours, which are bounded."""
    before = read_state(url)["cancelled"]
    with start_stream(url, "flood"):
        wait_until(lambda: read_state(url)["running"] == 0)
        assert read_state(url)["cancelled"] == before + 1


def test_requests_under_way_are_finished_and_new_ones_are_told_that_the_server_stops() -> None:
    """`held` is answered only after all that must be seen in between was seen."""
    with run_stub_server(drain_seconds=60) as (url, process):
        ready = url.replace("/v1", "/readyz")
        client = send_chat(url, "held")
        wait_until(lambda: read_state(url)["running"] == 1)
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: httpx2.get(ready, timeout=30).status_code == 503)
        refused = ask(url)
        assert ask(url, model="release").status_code == 200

        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "E-SRV-004")
        assert refused.headers["retry-after"]
        assert read_to_end(client).endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        assert process.wait(60) == 0
        client.close()


def test_a_second_signal_does_not_wait() -> None:
    with run_stub_server(drain_seconds=600) as (url, process):
        client = start_stream(url)
        process.send_signal(signal.SIGINT)
        wait_until(lambda: httpx2.get(url.replace("/v1", "/readyz"), timeout=30).status_code == 503)
        process.send_signal(signal.SIGINT)

        assert process.wait(60) == 0
        client.close()


def test_the_server_ends_with_its_parents_pipe() -> None:
    with run_stub_server(**QUICK) as (url, process):
        assert ask(url).status_code == 200
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None

        assert process.wait(60) == 0


def test_a_taken_port_is_one_sentence_and_exit_4(url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fixtures.stub_server", json.dumps({"port": urlsplit(url).port})],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith(f"E-SRV-038: port {urlsplit(url).port} is taken by another program\n")
    assert "Traceback" not in done.stderr
    assert ask(url).status_code == 200


@pytest.mark.parametrize("host", ["192.0.2.1", "\x00"])
def test_an_address_that_is_not_ours_cannot_be_listened_at(host: str) -> None:
    with pytest.raises(EnvironmentLacks) as caught:
        open_listener(ServerOptions(host=host, port=0, api_keys=("some-key",)))

    assert (caught.value.code, caught.value.exit_code) == ("E-SRV-038", 4)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", "localhost.example.org", ""])  # noqa: S104
def test_without_a_key_only_loopback_is_served(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(RecipeError) as caught:
        check_options(ServerOptions(host=host))

    assert (caught.value.code, caught.value.exit_code) == ("E-SRV-029", 2)
    check_options(ServerOptions(host=host, api_keys=("some-key",)))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_loopback_needs_no_key(host: str) -> None:
    check_options(ServerOptions(host=host))


@pytest.mark.parametrize("key", ["", " ", "two words", "schlüssel", "tab\t", "line\n"])
def test_a_key_that_no_header_carries_is_refused(key: str) -> None:
    with pytest.raises(RecipeError) as caught:
        check_options(ServerOptions(api_keys=("good-key", key)))

    assert caught.value.code == "E-SRV-029"
    assert "good-key" not in str(caught.value)


@pytest.mark.parametrize("port", [-1, 65_536])
def test_a_port_that_is_none_is_refused(port: int) -> None:
    with pytest.raises(RecipeError) as caught:
        open_listener(ServerOptions(port=port))

    assert caught.value.code == "E-SRV-037"
