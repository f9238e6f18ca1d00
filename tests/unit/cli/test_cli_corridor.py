"""What a corridor's end looks like: exit codes by verdict, one object of JSON, plan and report in words."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from luthier.cli.commands import corridor
from luthier.cli.commands.runs import draw_runs
from luthier.cli.failures import run_guarded
from luthier.cli.main import luthier
from luthier.foundation.schema.plan import Plan, Reason
from luthier.foundation.schema.protocols import Waiting
from luthier.foundation.schema.report import Report, Verdict
from luthier.lifecycle.result import CorridorResult, StageResult
from tests.fixtures.example_records import change, make_examples

DIGEST = "ab" * 32


def make_report(verdict: Verdict) -> Report:
    report = make_examples()["report"]
    gates = tuple(gate.model_copy(update={"verdict": verdict}) for gate in report.identity.gates)
    return change(report, identity={"verdict": verdict, "gates": gates})


def make_plan() -> Plan:
    took = {
        "memory_bytes": {"weights": 512 * 2**20},
        "peak_memory_bytes": 2 * 2**30,
        "seconds_estimate": 600,
        "rate_tokens_per_second": 1234,
        "num_tokens": 99_000,
        "reasons": (Reason(field="learning_rate", value="0.0002", reason="LoRA at rank 16"),),
    }
    return change(make_examples()["plan"], identity={"num_examples": 1200}, witness=took)


def make_result(record: Plan | Report, stage: str, **settings: Any) -> CorridorResult:
    made = StageResult(
        stage, reused=False, seconds=1.5, digest=DIGEST, evidence="found", record=record, cache_key=DIGEST
    )
    return CorridorResult((made,), **settings)


def render(parts: list[Any]) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=160)
    for part in parts:
        console.print(part)
    return stream.getvalue()


@pytest.mark.parametrize(("verdict", "code"), [("PASS", 0), ("FAIL", 3), ("INCONCLUSIVE", 3)])
def test_the_verdict_is_the_exit_code_and_stands_in_the_json(verdict: Verdict, code: int):
    result = make_result(make_report(verdict), "evaluate")
    assert corridor.find_exit_code(result) == code
    shown = corridor.to_json(result)
    assert (shown["verdict"], shown["gates"][0]["verdict"]) == (verdict, verdict)
    assert json.loads(json.dumps(shown)) == shown


def test_waiting_is_exit_code_5_and_says_what_ends_it():
    waiting = Waiting(stage="deploy", reason="approval", detail="luthier govern approve x")
    result = make_result(make_plan(), "plan", waiting=waiting)
    assert corridor.find_exit_code(result) == 5
    assert "deploy waits (approval): luthier govern approve x" in render(corridor.draw(result))
    assert corridor.find_exit_code(make_result(make_plan(), "plan")) == 0


def test_a_plan_is_shown_with_what_it_takes_and_every_reason():
    result = make_result(make_plan(), "plan")
    text = render(corridor.draw(result))
    for part in (
        "2.00 GiB at the peak",
        "10.0 minutes at 1,234 tokens/s",
        "1,200, 99,000 tokens",
        "512 MiB",
        "rank 16",
    ):
        assert part in text
    assert corridor.to_json(result)["plan"]["identity"]["num_steps"] == 40


def test_a_report_is_shown_with_intervals_differences_gates_and_its_page():
    text = render(corridor.draw(make_result(make_report("PASS"), "evaluate")))
    for part in ("0.5 to 0.9", "+0.25", "tuned - base", "above base", "verdict: PASS", "report: /runs/report.html"):
        assert part in text


def test_runs_are_one_a_line_and_unfinished_ones_have_no_numbers():
    rows: list[dict[str, Any]] = [
        {
            "run": "aaaaaaaaaaaa",
            "state": "done",
            "recipe": "desk",
            "started": "2026-11-24T10:00:00+00:00",
            "num_steps": 1200,
            "train_loss": 0.51,
            "validation_loss": None,
            "seconds": 90,
            "rate_tokens_per_second": 4321.5,
        },
        {"run": "bbbbbbbbbbbb", "state": "failed", "recipe": None, "started": "2026-11-24T11:00:00+00:00"},
    ]
    lines = [line.split() for line in render([draw_runs(rows)]).splitlines()]
    assert lines[1] == ["aaaaaaaaaaaa", "done", "desk", "2026-11-24T10:00:00", "1,200", "0.5100", "4,322", "1.5"]
    assert lines[2] == ["bbbbbbbbbbbb", "failed", "2026-11-24T11:00:00"]


def test_data_commands_tell_a_rows_story_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rows = [
        {"messages": [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": f"a{n}"}]}
        for n in range(20)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[0]]))
    (tmp_path / "r.yaml").write_text("name: x\ndata: {sources: [{path: rows.jsonl}]}\n")

    def call(*words: str) -> tuple[int, Any]:
        code = run_guarded(luthier, [*words, "--workspace", str(tmp_path), "--json"])
        return code, json.loads(capsys.readouterr().out)

    code, curated = call("data", "curate", str(tmp_path / "r.yaml"))
    assert code == 0
    assert curated["data"]["splits"]["train"]["num_rows"] == 16
    code, story = call("data", "why", "latest", "rows.jsonl:21")
    assert (code, story["split"]) == (0, None)
    code, used = call("data", "used-by", curated["data"]["digest"][:10])
    assert (code, used["used_by"]) == (0, [])
    code, checked = call("data", "check", str(tmp_path / "rows.jsonl"))
    assert (code, checked["num_problems"]) == (0, 0)
    code, status = call("status")
    assert [record["kind"] for record in status["records"]] == ["dataset_version"]
    for words in (["data", "curate", "r.yaml"], ["data", "why", "latest", "rows.jsonl:21"], ["status"], ["gc"]):
        path = [str(tmp_path / word) if word == "r.yaml" else word for word in words]
        assert run_guarded(luthier, [*path, "--workspace", str(tmp_path)]) == 0
        assert capsys.readouterr().out


def test_a_bad_row_makes_check_exit_with_2_and_names_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "rows.jsonl").write_text('{"messages": [{"role": "user", "content": "q"}]}\n{broken\n')
    assert run_guarded(luthier, ["data", "check", str(tmp_path / "rows.jsonl")]) == 2
    out = capsys.readouterr().out
    assert "rows.jsonl line 2" in out


def test_masks_are_told_without_colour_by_quotes():
    from luthier.cli.commands.data import draw_masked

    row = {
        "id": "r1",
        "origin": "f line 1",
        "num_tokens": 5,
        "num_trained": 2,
        "pieces": [{"text": "question ", "is_trained": False}, {"text": "answer", "is_trained": True}],
    }
    assert "question «answer»" in render([draw_masked(row)])
    steering = {**row, "pieces": [{"text": "\x1b[2J\u202eline\n", "is_trained": False}]}
    assert "\\x1b[2J\\u202eline\n" in render([draw_masked(steering)])
    problem = {"problem": {"code": "E-TXT-006", "what": "nothing to train", "origin": "f line 2"}}
    assert "E-TXT-006: nothing to train (f line 2)" in render([draw_masked(problem)])
