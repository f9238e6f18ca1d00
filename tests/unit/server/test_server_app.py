"""The application in process: ids, keys, places, bodies, errors on the wire, and what observers are told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest

from luthier.foundation.schema.telemetry import RequestFacts
from luthier.server.app import build_app
from luthier.server.observers import MAX_WAITING, Extension, Hosting, ObserverBoard
from luthier.server.options import ServerOptions
from tests.fixtures.stub_runtime import DIGEST, StubRuntime

CHAT = "/v1/chat/completions"
USER = {"role": "user", "content": "three short words"}


class Notebook:
    """An observer that keeps what it is told; fails when told to."""

    def __init__(self) -> None:
        self.facts: list[RequestFacts] = []
        self.error: Exception | None = None

    def on_request(self, facts: RequestFacts) -> None:
        if self.error:
            raise self.error
        self.facts.append(facts)


class Desk:
    """One application with everything that a test looks at."""

    def __init__(self, **options: Any) -> None:
        self.runtime = StubRuntime()
        self.notebook = Notebook()
        self.hosting: Hosting | None = None
        self.app = build_app(self.runtime, ServerOptions(**options), extensions=[self.extend])

    def extend(self, hosting: Hosting) -> Extension:
        self.hosting = hosting
        return Extension(observers=[self.notebook])

    def ask(self, *requests: dict[str, Any]) -> list[httpx2.Response]:
        """Send requests one after another, wait until observers know of them."""

        async def send() -> list[httpx2.Response]:
            transport = httpx2.ASGITransport(app=self.app)
            async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
                answers = [await client.request(**request) for request in requests]
            assert self.hosting is not None
            await self.hosting.settle()
            return answers

        return asyncio.run(send())

    def chat(self, headers: dict[str, str] | None = None, **body: Any) -> httpx2.Response:
        body = {"model": "echo", "messages": [USER], **body}
        return self.ask({"method": "POST", "url": CHAT, "json": body, "headers": headers or {}})[0]

    def get(self, path: str, **headers: str) -> httpx2.Response:
        return self.ask({"method": "GET", "url": path, "headers": headers})[0]


def error_of(answer: httpx2.Response) -> dict[str, Any]:
    """Return the error of an answer in OpenAI's envelope, whose four keys are always there."""
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"].isprintable()
    assert (error["param"] or "").isprintable()
    return error


def test_a_callers_trace_is_noted_and_a_bad_one_changes_nothing() -> None:
    desk, parent = Desk(), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    assert [desk.chat(headers={"traceparent": value}).status_code for value in (parent, "nonsense")] == [200, 200]
    assert [facts.trace_parent for facts in desk.notebook.facts] == [parent, ""]


def test_a_sane_request_id_is_kept_and_any_other_is_replaced() -> None:
    desk = Desk()

    assert desk.chat({"x-request-id": "trace-7.a:b"}).headers["x-request-id"] == "trace-7.a:b"
    made = [desk.chat({"x-request-id": odd}).headers["x-request-id"] for odd in ("", "a b", "x" * 200, "a;b")]
    assert len(set(made)) == 4
    assert all(len(each) == 36 for each in made)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/v1/models", "/nothing", "/v1/models/nothing"])
def test_every_answer_has_a_request_id(path: str) -> None:
    assert Desk().get(path).headers["x-request-id"]


def test_readiness_follows_the_runtime_and_the_drain() -> None:
    desk = Desk()

    assert (desk.get("/healthz").status_code, desk.get("/readyz").status_code) == (200, 200)
    desk.runtime.is_loaded = False
    assert (desk.get("/healthz").status_code, desk.get("/readyz").status_code) == (200, 503)
    desk.runtime.is_loaded = True
    desk.app.state.service.health.is_draining = True
    assert desk.get("/readyz").json() == {"status": "draining"}


def test_a_key_opens_and_nothing_else_does() -> None:
    desk = Desk(api_keys=("first-key", "second-key"))

    for key in ("first-key", "second-key"):
        assert desk.chat({"authorization": f"Bearer {key}"}).status_code == 200
    for header in ("Bearer ", "Bearer first", "Bearer first-key2", "Basic first-key", "first-key", "Bearer clé"):
        refused = desk.ask(
            {"method": "GET", "url": "/v1/models", "headers": {"authorization": header.encode("latin-1")}}
        )[0]
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"
        assert error_of(refused)["code"] == "E-SRV-028"
    assert desk.get("/v1/models").status_code == 401
    assert desk.get("/nothing").status_code == 401
    assert desk.get("/healthz").status_code == 200


def test_keys_are_not_shown_by_the_options() -> None:
    assert "first-key" not in repr(ServerOptions(api_keys=("first-key",)))


def test_without_keys_only_this_machines_own_name_is_answered() -> None:
    """A page that a browser shows can reach loopback under its own name (DNS rebinding) or send a form to it."""
    desk = Desk()

    for host in ("localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "127.1.2.3"):
        assert desk.get("/v1/models", host=host).status_code == 200
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8000", "", "[bad"):
        refused = desk.get("/v1/models", host=host)
        assert (refused.status_code, error_of(refused)["code"]) == (403, "E-SRV-035")
    assert desk.get("/v1/models", host="localhost:8000", origin="http://localhost:8000").status_code == 200
    for origin in ("http://evil.example", "null", "http://localhost:3000"):
        assert desk.get("/v1/models", host="localhost:8000", origin=origin).status_code == 403
    with_key = Desk(api_keys=("some-key",))
    assert with_key.get("/v1/models", host="api.example", authorization="Bearer some-key").status_code == 200


def test_a_body_of_another_kind_is_refused_and_none_named_is_taken_for_json() -> None:
    desk = Desk()
    body = json.dumps({"model": "echo", "messages": [USER]}).encode()

    def send(**headers: str) -> httpx2.Response:
        return desk.ask({"method": "POST", "url": CHAT, "content": body, "headers": headers})[0]

    assert send().status_code == 200
    assert send(**{"content-type": "application/json; charset=utf-8"}).status_code == 200
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        refused = send(**{"content-type": kind})
        assert (refused.status_code, error_of(refused)["code"]) == (415, "E-SRV-034")


def test_a_body_beyond_the_bound_is_refused_with_and_without_its_length() -> None:
    desk = Desk(max_body_bytes=1000)

    async def in_chunks() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b" " * 100

    declared, chunked = desk.ask(
        {"method": "POST", "url": CHAT, "content": b" " * 1001},
        {"method": "POST", "url": CHAT, "content": in_chunks()},
    )
    for answer in (declared, chunked):
        assert (answer.status_code, error_of(answer)["code"]) == (413, "E-SRV-021")
    assert desk.runtime.requests == []


@pytest.mark.parametrize(
    ("model", "status", "code", "kind"),
    [
        ("nothing", 404, "E-SRV-001", "invalid_request_error"),
        ("no_room", 400, "E-SRV-002", "invalid_request_error"),
        ("full", 429, "E-SRV-003", "rate_limit_error"),
        ("draining", 503, "E-SRV-004", "server_error"),
        ("refused", 400, "E-SRV-005", "invalid_request_error"),
        ("fails_first", 500, "E-SRV-006", "server_error"),
        ("breaks", 500, "E-SRV-032", "server_error"),
    ],
)
@pytest.mark.parametrize("is_streaming", [False, True])
def test_every_failure_before_the_first_piece_has_its_status(
    model: str, status: int, code: str, kind: str, *, is_streaming: bool
) -> None:
    desk = Desk()

    answer = desk.chat(model=model, stream=is_streaming)
    error = error_of(answer)
    assert (answer.status_code, error["code"], error["type"]) == (status, code, kind)
    assert ("retry-after" in answer.headers) == (status in {429, 503})
    assert "secret" not in answer.text
    facts = desk.notebook.facts[0]
    assert (facts.status, facts.code) == (status, code)
    assert facts.model == ("unknown" if model == "nothing" else model)


@pytest.mark.parametrize("name", ["../../etc/passwd", "a\x1b[2Jb", "a\r\nb", "\u202eevil", "%2e%2e/x", "модель"])
def test_an_odd_model_name_is_a_plain_404_that_moves_no_cursor(name: str) -> None:
    answer = Desk().chat(model=name)

    assert (answer.status_code, error_of(answer)["param"]) == (404, "model")
    assert not set(answer.text) & {"\x1b", "\r", "\n", "\u202e"}


def test_a_name_inside_a_schema_moves_no_cursor_either() -> None:
    function = {"name": "f", "parameters": {"properties": {"\x1b[2J": {"type": "thing"}}}}

    error = error_of(Desk().chat(tools=[{"type": "function", "function": function}]))
    assert (error["code"], error["param"]) == ("E-SRV-027", "tools[0].function.parameters.properties.\\x1b[2J.type")


def test_a_model_is_shown_by_name_and_a_path_through_folders_is_none() -> None:
    desk = Desk()

    assert desk.get("/v1/models/echo").json()["id"] == "echo"
    for path in ("/v1/models/..%2f..%2fetc/passwd", "/v1/models/%1b%5b2J", "/v1/models/"):
        refused = desk.get(path)
        assert (refused.status_code, error_of(refused)["code"]) == (404, "E-SRV-001")
    assert desk.get("/v1/models").json()["data"][0]["id"] == "echo"


def test_no_such_path_and_no_such_method_have_our_envelope_too() -> None:
    desk = Desk()

    nothing, wrong = desk.get("/v1/completions"), desk.get(CHAT)
    assert (nothing.status_code, error_of(nothing)["code"]) == (404, "E-SRV-031")
    assert (wrong.status_code, error_of(wrong)["code"]) == (405, "E-SRV-036")
    assert wrong.headers["allow"] == "POST"


def test_facts_are_told_once_and_without_content() -> None:
    desk = Desk()

    answer = desk.chat(n=2, max_tokens=2)
    (facts,) = desk.notebook.facts
    assert facts.response_id == answer.json()["id"]
    assert facts.request_id == answer.headers["x-request-id"]
    assert (facts.model, facts.release, facts.status, facts.code) == ("echo", DIGEST, 200, "")
    assert (facts.prompt_tokens, facts.completion_tokens, facts.num_answers) == (3, 4, 2)
    assert facts.finish_reason == "length"
    # The words "three " and "short " have 6 letters each; the stub's log-probability is minus the length.
    assert facts.mean_logprob == pytest.approx(-6.0)
    assert facts.first_token_seconds is not None
    assert 0 <= facts.first_token_seconds <= facts.seconds
    assert facts.content is None


def test_content_is_told_only_where_it_is_kept() -> None:
    desk = Desk(keep_content=True)
    desk.chat(stream=True)
    desk.chat(model="nothing")

    kept, refused = desk.notebook.facts
    assert kept.content is not None
    assert (kept.content.messages[0].text, kept.content.answers) == ("three short words", ("three short words",))
    assert kept.is_streaming
    assert refused.content is None


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("a broken observer")])
def test_an_observer_that_fails_fails_no_request_and_the_loss_is_counted(error: Exception) -> None:
    desk = Desk()
    desk.notebook.error = error

    assert [desk.chat().status_code for _ in range(5)] == [200] * 5
    assert desk.hosting is not None
    assert desk.hosting.count_lost() == 5


def test_observers_that_are_too_slow_lose_facts_instead_of_filling_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    board = ObserverBoard()
    board.observers.append(Notebook())
    monkeypatch.setattr(board, "_num_waiting", MAX_WAITING)
    facts = RequestFacts(time=0.0, request_id="r", status=200, seconds=0.0)

    board.post(facts)
    assert board.count_lost() == 1
    board.close()


def test_nothing_is_open_when_all_is_answered() -> None:
    desk = Desk()
    for model in ("echo", "nothing", "breaks", "fails_first"):
        desk.chat(model=model)

    assert desk.hosting is not None
    assert (desk.hosting.count_open(), desk.runtime.num_running) == (0, 0)


def test_a_failure_in_the_midst_of_a_stream_is_an_event_and_no_end() -> None:
    desk = Desk()

    answer = desk.chat(model="fails_later", stream=True)
    events = [line[6:] for line in answer.text.split("\n\n") if line]
    assert answer.status_code == 200
    assert json.loads(events[-1])["error"]["code"] == "E-SRV-006"
    assert "[DONE]" not in answer.text
    assert (desk.notebook.facts[0].status, desk.notebook.facts[0].code) == (500, "E-SRV-006")


def test_an_answer_that_the_drain_cuts_short_is_no_answer() -> None:
    desk = Desk()
    inner = desk.runtime.submit

    def submit_and_cancel(request: Any) -> Any:
        answering = inner(request)
        answering.cancel()
        return answering

    desk.runtime.submit = submit_and_cancel  # type: ignore[method-assign]
    whole, stream = desk.chat(), desk.chat(stream=True)
    assert (whole.status_code, error_of(whole)["code"]) == (503, "E-SRV-004")
    assert '"code":"E-SRV-004"' in stream.text


def test_an_unknown_error_outside_of_chat_is_a_plain_500() -> None:
    desk = Desk()
    desk.runtime.models = _raise  # type: ignore[method-assign]

    answer = desk.get("/v1/models")
    assert (answer.status_code, error_of(answer)["code"]) == (500, "E-SRV-032")
    assert "secret" not in answer.text


def _raise() -> Any:
    message = "secret"
    raise RuntimeError(message)


def test_extensions_add_paths_that_may_be_open() -> None:
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    def show(request: Request) -> PlainTextResponse:
        return PlainTextResponse("here")

    closed: list[str] = []

    def make(paths: frozenset[str]) -> Callable[[Hosting], Extension]:
        extension = Extension(routes=[Route("/extra", show)], open_paths=paths, close=lambda: closed.append("closed"))
        return lambda _: extension

    for paths, status in ((frozenset({"/extra"}), 200), (frozenset[str](), 401)):
        desk = Desk(api_keys=("some-key",))
        app = build_app(StubRuntime(), ServerOptions(api_keys=("some-key",)), extensions=[desk.extend, make(paths)])
        desk.app = app
        assert desk.get("/extra").status_code == status
        app.state.service.close()
    assert closed == ["closed", "closed"]
