"""The traffic log: every answered request has its line, nothing private is in it, and it stays within bounds."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from luthier.foundation.schema.telemetry import RequestContent
from luthier.instruments.text.form_messages import Place, read_messages
from luthier.instruments.text.privacy import find_private
from luthier.stages.monitor.telemetry import Telemetry
from luthier.stages.monitor.telemetry_log import LogBounds, TrafficLog, describe_request, iterate_files
from luthier.stages.monitor.telemetry_metrics import RequestMetrics, ServerCounts
from luthier.stages.monitor.traffic import read_traffic
from tests.fixtures.requests_seen import RELEASE, SPRING, make_content, make_facts

DAY = 86_400


def read_lines(folder: Path) -> list[dict[str, object]]:
    files = [path for _, path in sorted(iterate_files(folder / RELEASE))]
    return [json.loads(line) for path in files for line in path.read_text().splitlines()]


def open_telemetry(folder: Path) -> Telemetry:
    return Telemetry(RequestMetrics(ServerCounts(lambda: {"desk": RELEASE})), TrafficLog(folder))


def test_a_line_has_what_drift_reads_and_no_word_of_what_was_said(tmp_path: Path) -> None:
    TrafficLog(tmp_path).write(make_facts())

    assert read_lines(tmp_path) == [
        {
            "time": "2026-03-02T00:00:00.000Z",
            "id": "chatcmpl-0",
            "model": "desk",
            "release": RELEASE,
            "prompt_tokens": 12,
            "completion_tokens": 3,
            "finish_reason": "stop",
            "seconds": 0.25,
            "logprob": -0.5,
        }
    ]


def test_kept_content_is_redacted_everywhere_and_still_reads_as_messages(tmp_path: Path) -> None:
    line = describe_request(make_facts(content=make_content()))

    assert find_private(json.dumps(line)) == ()
    assert line["text"] == "And to <EMAIL_2>, not <EMAIL_1>", "equal values have equal placeholders in all texts"
    assert line["answers"] == ["I wrote to <EMAIL_2>."]
    messages = read_messages(line["messages"], Place("log", "messages"))
    assert [message.role for message in messages] == ["system", "user", "assistant", "tool", "user"]
    assert json.loads(messages[2].tool_calls[0].function.arguments) == {"mail": "<EMAIL_1>", "days": 3}
    assert messages[3].tool_call_id == "c1"


@pytest.mark.parametrize("changes", [{"response_id": "", "status": 429}, {"release": ""}, {"release": "../../etc"}])
def test_what_was_refused_or_belongs_to_no_release_has_no_line(tmp_path: Path, changes: dict[str, object]) -> None:
    TrafficLog(tmp_path).write(make_facts(**changes))

    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("logprob", [None, float("nan"), float("-inf")])
def test_a_log_probability_that_is_no_number_is_left_out(logprob: float | None) -> None:
    assert "logprob" not in describe_request(make_facts(mean_logprob=logprob))


def test_each_day_has_its_file_in_utc(tmp_path: Path) -> None:
    log = TrafficLog(tmp_path)
    for number in (0, DAY - 1, DAY, 3 * DAY):
        log.write(make_facts(number))

    names = [path.name for _, path in sorted(iterate_files(tmp_path / RELEASE))]
    assert names == ["2026-03-02.jsonl", "2026-03-03.jsonl", "2026-03-05.jsonl"]
    assert len((tmp_path / RELEASE / names[0]).read_text().splitlines()) == 2


def test_the_log_never_outgrows_its_bounds_and_the_oldest_lines_go_first(tmp_path: Path) -> None:
    bounds = LogBounds(file_bytes=2_000, release_bytes=10_000)
    log = TrafficLog(tmp_path, bounds=bounds)
    for number in range(200):
        log.write(make_facts(number))
        size = sum(path.stat().st_size for path in tmp_path.rglob("*.jsonl"))
        assert size <= bounds.release_bytes + 300, "one line may stand over"

    ids = [str(line["id"]) for line in read_lines(tmp_path)]
    assert ids == [f"chatcmpl-{number}" for number in range(200 - len(ids), 200)], "the newest, without a gap"
    assert len(ids) > 25


def test_content_that_is_too_long_is_left_out_and_the_line_stays(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("luthier.stages.monitor.telemetry_log.MAX_LINE_BYTES", 1_000)
    content = RequestContent(answers=("word " * 1_000,))
    TrafficLog(tmp_path).write(make_facts(content=content))

    (line,) = read_lines(tmp_path)
    assert line["id"] == "chatcmpl-0"
    assert "answers" not in line


def test_lines_of_many_threads_are_all_there_and_whole(tmp_path: Path) -> None:
    def write(start: int) -> None:
        log = TrafficLog(tmp_path)  # each its own, as processes have
        for number in range(start, start + 25):
            log.write(make_facts(number, content=make_content()))

    threads = [threading.Thread(target=write, args=(start,)) for start in range(0, 200, 25)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(str(line["id"]) for line in read_lines(tmp_path)) == sorted(f"chatcmpl-{n}" for n in range(200))


def test_a_response_is_found_again_after_a_restart_with_what_was_kept(tmp_path: Path) -> None:
    telemetry = open_telemetry(tmp_path)
    telemetry.on_request(make_facts(1))
    telemetry.on_request(make_facts(2, content=make_content()))
    telemetry.on_request(make_facts(DAY))

    for seen in (telemetry, open_telemetry(tmp_path)):
        plain, kept = seen.find_response("chatcmpl-1"), seen.find_response("chatcmpl-2")
        assert plain is not None
        assert (plain.release, plain.model, plain.messages) == (RELEASE, "desk", ())
        assert kept is not None
        assert kept.answers == ("I wrote to <EMAIL_2>.",)
        assert seen.find_response("chatcmpl-3") is None
        assert seen.find_response('chatcmpl-1"') is None


def test_the_id_of_a_call_or_one_that_a_customer_quotes_is_not_taken_for_a_response(tmp_path: Path) -> None:
    log = TrafficLog(tmp_path)
    log.write(make_facts(1, content=make_content()))
    log.write(make_facts(2, content=RequestContent(answers=('"id":"chatcmpl-9"',))))

    assert log.find("c1") is None, "a tool call's"
    assert log.find("chatcmpl-9") is None
    assert log.find("chatcmpl-2") is not None


def test_remembered_responses_are_bounded(monkeypatch) -> None:
    monkeypatch.setattr("luthier.stages.monitor.telemetry.MAX_RECENT", 50)
    telemetry = Telemetry(RequestMetrics(ServerCounts(lambda: {"desk": RELEASE})))
    for number in range(60):
        telemetry.on_request(make_facts(number))

    assert telemetry.find_response("chatcmpl-9") is None
    assert telemetry.find_response("chatcmpl-10") is not None


def test_what_the_log_writes_is_what_drift_reads(tmp_path: Path) -> None:
    log = TrafficLog(tmp_path, bounds=LogBounds(file_bytes=600))
    for number in range(0, 3 * DAY, DAY // 4):
        log.write(make_facts(number, content=make_content() if number % DAY else None))

    rows = read_traffic(tmp_path / RELEASE).rows
    assert [row.time.timestamp() - SPRING for row in rows if row.time] == list(range(0, 3 * DAY, DAY // 4))
    assert {json.dumps(row.numbers) for row in rows} == {
        json.dumps({"logprob": -0.5, "prompt_tokens": 12.0, "completion_tokens": 3.0})
    }
    assert {row.text for row in rows} == {None, "And to <EMAIL_2>, not <EMAIL_1>"}
