"""/metrics and /v1/feedback over HTTP: what requests leave behind, what is known of an answer, and a full disk."""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from luthier.api.telemetry import Served, Watch
from luthier.foundation.store.workspace import Workspace
from luthier.instruments.text.privacy import find_private
from luthier.server.app import build_app
from luthier.server.metrics import make_telemetry, mount
from luthier.server.observers import Extension, Hosting
from luthier.server.options import ServerOptions
from tests.fixtures.fake_stages import open_quick_folder
from tests.fixtures.faulty_disk import FaultyFileSystem
from tests.fixtures.stub_runtime import DIGEST, StubRuntime

CHAT = "/v1/chat/completions"
FEEDBACK = "/v1/feedback"
USER = {"role": "user", "content": "write to ann@nordbank.com now"}


class Desk:
    """One application that is watched, with a workspace in a folder."""

    def __init__(self, folder: Path, *, fs: FaultyFileSystem | None = None, **options: Any) -> None:
        self.folder = folder
        self.fs = fs
        self.runtime = StubRuntime()
        self.hosting: Hosting | None = None
        self.app = build_app(self.runtime, ServerOptions(**options), workspace=folder, extensions=[self.extend])

    def extend(self, hosting: Hosting) -> Extension:
        self.hosting = hosting
        if self.fs is None:
            return make_telemetry(hosting)
        served = Served(lambda: {"echo": DIGEST}, hosting.count_open, hosting.count_lost)
        return mount(Watch(served, workspace=self.folder, fs=self.fs), hosting)

    def ask(self, *requests: dict[str, Any]) -> list[httpx2.Response]:
        """Send requests one after another."""

        async def send() -> list[httpx2.Response]:
            transport = httpx2.ASGITransport(app=self.app)
            client = httpx2.AsyncClient(transport=transport, base_url="http://localhost", verify=False)
            async with client:
                answers = [await client.request(**request) for request in requests]
            assert self.hosting is not None
            await self.hosting.settle()
            return answers

        return asyncio.run(send())

    def chat(self, **body: Any) -> httpx2.Response:
        return self.ask({"method": "POST", "url": CHAT, "json": {"model": "echo", "messages": [USER], **body}})[0]

    def give(self, **said: Any) -> httpx2.Response:
        return self.ask({"method": "POST", "url": FEEDBACK, "json": said})[0]

    def count(self, name: str, **labels: str) -> float:
        (answer,) = self.ask({"method": "GET", "url": "/metrics"})
        assert answer.headers["content-type"].startswith("text/plain; version=")
        return sum(
            sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def lines(self) -> list[dict[str, Any]]:
        files = (self.folder / ".luthier" / "telemetry" / DIGEST).glob("*.jsonl")
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_quick_folder() as made:
        yield made


@pytest.fixture
def desk(folder: Path) -> Desk:
    return Desk(folder)


def error_of(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert error["code"] == code
    return error


def test_answers_streams_and_refusals_are_counted_by_what_became_of_them(desk: Desk) -> None:
    desk.chat()
    desk.chat(stream=True)
    desk.chat(max_tokens=1)
    desk.chat(model="full")
    desk.chat(model="../../etc/passwd\n")
    desk.ask({"method": "POST", "url": CHAT, "content": b"{", "headers": {"content-type": "application/json"}})

    served = {"model": "echo", "release": DIGEST[:12]}
    assert desk.count("luthier_requests_total") == 6
    assert desk.count("luthier_requests_total", **served, status="200", finish_reason="stop") == 2
    assert desk.count("luthier_requests_total", **served, status="200", finish_reason="length") == 1
    assert desk.count("luthier_requests_total", model="full", status="429", finish_reason="none") == 1
    assert desk.count("luthier_requests_total", model="unknown", release="", status="404") == 1
    assert desk.count("luthier_requests_total", model="unknown", release="", status="400") == 1
    assert desk.count("luthier_tokens_total", **served, kind="prompt") == 3 * 4
    assert desk.count("luthier_request_seconds_count") == 6
    assert desk.count("luthier_first_token_seconds_count", **served) == 3
    assert desk.count("luthier_queue_depth") == 0


def test_metrics_and_feedback_stand_behind_the_key(folder: Path) -> None:
    desk = Desk(folder, api_keys=("k1",))
    for method, path in (("GET", "/metrics"), ("POST", FEEDBACK)):
        (without,) = desk.ask({"method": method, "url": path})
        assert without.status_code == 401
    (given,) = desk.ask({"method": "GET", "url": "/metrics", "headers": {"authorization": "Bearer k1"}})
    assert given.status_code == 200


def test_without_keeping_content_no_word_of_a_conversation_is_on_disk(desk: Desk, folder: Path) -> None:
    answer = desk.chat(logprobs=True).json()

    (line,) = desk.lines()
    assert (line["id"], line["release"]) == (answer["id"], DIGEST)
    assert line["logprob"] < 0
    assert not any(b"nordbank" in file.read_bytes() for file in folder.rglob("*") if file.is_file())


def test_a_rating_of_an_answer_just_given_is_kept_once_however_often_it_is_sent(desk: Desk) -> None:
    answer = desk.chat().json()
    first = desk.give(response_id=answer["id"], rating="up")
    again = desk.give(response_id=answer["id"], rating="up")

    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert first.json()["state"] == "new"
    (piece,) = Workspace.open(desk.folder).feedback.entries()
    assert (piece.id, piece.release, piece.model, piece.rating) == (first.json()["id"], DIGEST, "echo", "up")
    assert desk.count("luthier_feedback_total", model="echo", kind="rating") == 1


def test_a_correction_without_its_conversation_is_a_409_with_both_ways_out(desk: Desk) -> None:
    answer = desk.chat().json()
    error = error_of(desk.give(response_id=answer["id"], correction="No."), 409, "E-MON-022")
    assert "--keep-content" in error["message"]
    assert error["param"] == "messages"

    sent = desk.give(response_id=answer["id"], correction="No.", messages=[USER])
    assert sent.status_code == 201
    assert sent.json()["kind"] == "correction"


def test_with_kept_content_a_correction_finds_its_conversation_and_nothing_private_is_stored(folder: Path) -> None:
    desk = Desk(folder, keep_content=True)
    answer = desk.chat().json()
    given = desk.give(response_id=answer["id"], preferred="I wrote to ann@nordbank.com.")

    assert given.status_code == 201
    (piece,) = Workspace.open(folder).feedback.entries()
    assert piece.payload.messages[0]["content"] == "write to <EMAIL_1> now"
    assert piece.payload.rejected == "write to <EMAIL_1> now", "the echo's answer"
    assert find_private(piece.model_dump_json() + json.dumps(desk.lines())) == ()


def test_feedback_finds_an_answer_of_before_the_server_was_started_again(folder: Path) -> None:
    answer = Desk(folder).chat().json()
    assert Desk(folder).give(response_id=answer["id"], rating=2).status_code == 201


def test_an_unknown_answer_is_a_404_and_nothing_is_stored(desk: Desk) -> None:
    desk.chat()
    error = error_of(desk.give(response_id="chatcmpl-nobody", rating="up"), 404, "E-MON-021")
    assert error["param"] == "response_id"
    assert Workspace.open(desk.folder).feedback.entries() == []


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"{", 400, "E-SRV-020"),
        (b"[]", 400, "E-SRV-020"),
        (b'{"response_id": "r", "rating": NaN}', 400, "E-SRV-020"),
        (b'{"response_id": "r", "response_id": "r"}', 400, "E-SRV-020"),
        (b"{}", 400, "E-MON-020"),
        (b'{"response_id": "../x", "rating": "up"}', 400, "E-MON-020"),
        (b'{"response_id": "r", "rating": "up", "sql": "drop"}', 400, "E-MON-020"),
        (b'{"response_id": "r", "messages": [{"role": "x"}], "correction": "y"}', 400, "E-TXT-013"),
        (b'{"comment": "' + b"x" * 1_000_001 + b'"}', 413, "E-SRV-021"),
    ],
)
def test_what_is_no_feedback_is_refused_in_the_apis_form(desk: Desk, content: bytes, status: int, code: str) -> None:
    headers = {"content-type": "application/json"}
    (answer,) = desk.ask({"method": "POST", "url": FEEDBACK, "content": content, "headers": headers})
    error_of(answer, status, code)
    assert not (desk.folder / ".luthier").exists(), "a refusal leaves nothing"


def test_a_full_disk_loses_the_line_and_counts_it_and_fails_no_request(folder: Path) -> None:
    desk = Desk(folder, fs=FaultyFileSystem(fail_at=2))
    answers = [desk.chat() for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    ids = [answer.json()["id"] for answer in answers]
    assert [line["id"] for line in desk.lines()] == [ids[0], ids[2]], "whole lines, and the log goes on"
    assert desk.count("luthier_telemetry_lost_total") == 1
    assert desk.count("luthier_requests_total", model="echo", status="200") == 3, "counted all the same"
    assert desk.give(response_id=ids[1], rating="down").status_code == 201, "its answer is still known"


def test_a_disk_that_refuses_everything_fails_no_request(folder: Path) -> None:
    class Dead(FaultyFileSystem):
        def _is_due(self) -> bool:
            return True

    desk = Desk(folder, fs=Dead(code=errno.EIO))
    assert [desk.chat().status_code for _ in range(4)] == [200] * 4
    assert desk.count("luthier_telemetry_lost_total") == 4
    assert desk.lines() == []
