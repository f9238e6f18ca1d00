"""One recipe through real processes: rows to a verdict, again for nothing, and what may and may not be reused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.command_line import call

RECIPE = """\
luthier: 1
name: tiny-topics
data:
  sources: [{path: "${TINY_DATA}/rows.jsonl", license: LicenseRef-own}]
model: {base: "${TINY_DATA}/base", license: LicenseRef-own}
plan: {probes: 4, precision: fp32}
train:
  method: full
  learning_rate: 4e-3
  batch_tokens: 800
  max_length: 128
  epochs: 7
  evaluations: 1
  checkpoints: 1
evaluate:
  suites: [{type: task, on: test, metrics: [exact_match, accuracy], max_new_tokens: 6}]
  gates: [{metric: task.exact_match, above: base}]
"""


@dataclass(frozen=True)
class Place:
    """A folder with rows, a base and a recipe, and the first run's answer."""

    folder: Path
    first: dict[str, Any]

    def call(self, *words: str, code: int = 0) -> dict[str, Any]:
        done = call(self.folder, *words)
        assert done.returncode == code, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    from tests.fixtures.tiny_task import build_untrained, make_task_rows

    folder = tmp_path_factory.mktemp("corridor")
    build_untrained(folder / "base")
    rows = [
        {"messages": [{"role": message.role, "content": message.text} for message in row.messages]}
        for row in make_task_rows(900, seed=0)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "r.yaml").write_text(RECIPE)
    done = call(folder, "run", "r.yaml", "--until", "evaluate")
    assert done.returncode == 0, done.stderr
    return Place(folder, json.loads(done.stdout))


def test_rows_become_a_tuned_model_that_passes_its_gate(place: Place):
    assert [stage["stage"] for stage in place.first["stages"]] == ["data", "model", "plan", "train", "evaluate"]
    assert not any(stage["reused"] for stage in place.first["stages"])
    assert place.first["verdict"] == "PASS"
    assert place.first["gain"]["value"] > 0.5
    assert place.first["peak_memory_bytes"] > 0


def test_another_gate_reuses_the_training_and_an_inconclusive_one_exits_with_3(place: Place):
    suites = "evaluate.suites=[{type: task, on: test, max_questions: 3, max_new_tokens: 6}]"
    found = place.call("evaluate", "r.yaml", "--set", suites, code=3)
    assert [stage["reused"] for stage in found["stages"]] == [True, True, True, True, False]
    assert found["verdict"] == "INCONCLUSIVE"
    kinds = [record["kind"] for record in place.call("status")["records"]]
    assert kinds.count("report") >= 2, "the report is stored all the same"


def test_one_changed_training_row_is_another_data_set_and_another_plan(place: Place):
    path = place.folder / "rows.jsonl"
    before = path.read_text()
    try:
        path.write_text(before.replace("please", "prithee", 1))
        found = place.call("plan", "r.yaml")
    finally:
        path.write_text(before)
    assert [stage["reused"] for stage in found["stages"]] == [False, True, False]
    assert found["plan"]["identity"]["examples"]


def test_the_same_files_elsewhere_are_the_same_data_set(place: Place, tmp_path: Path):
    (tmp_path / "rows.jsonl").write_bytes((place.folder / "rows.jsonl").read_bytes())
    (tmp_path / "base").symlink_to(place.folder / "base")
    command = [sys.executable, "-m", "luthier", "run", "r.yaml", "--until", "model", "--json"]
    environment = {**os.environ, "TINY_DATA": str(tmp_path)}
    done = subprocess.run(command, cwd=place.folder, env=environment, capture_output=True, text=True, check=False)
    assert [stage["reused"] for stage in json.loads(done.stdout)["stages"]] == [True, True], "paths are in no key"


def test_the_run_is_listed_with_its_curve_and_its_lineage(place: Place):
    (run,) = place.call("runs")["runs"]
    assert (run["run"], run["state"], run["recipe"]) == (place.first["run"], "done", "tiny-topics")
    logs = place.call("logs", run["run"][:6])
    assert len(logs["steps"]) == run["num_steps"]
    assert logs["failure"] == ""
    used = place.call("data", "used-by", place.first["stages"][0]["digest"][:10])
    assert {"plan", "run", "report"} <= {child["kind"] for child in used["used_by"]}
    both = place.call("runs", "compare", run["run"], run["run"])
    assert both["recipe"] == []


def test_run_and_base_are_compared_and_asked_by_reference(place: Place):
    run = f"run:{place.first['run']}"
    found = place.call("compare", "base", run, "--data", "rows.jsonl", "--max-questions", "40", "--max-new-tokens", "6")
    assert "the second is better" in found["verdicts"]["exact_match"]
    assert len(found["better"]) > len(found["worse"])
    answers = place.call("generate", run, "--data", "rows.jsonl", "--rows", "12", "--max-new-tokens", "6")["answers"]
    assert sum(answer["answer"] == answer["reference"] for answer in answers) >= 9


def test_a_second_run_reuses_every_stage_also_after_keeping_house(place: Place):
    place.call("gc", "--days", "0")
    again = place.call("run", "r.yaml", "--until", "evaluate")
    assert all(stage["reused"] for stage in again["stages"])
    digests = [[stage["digest"] for stage in found["stages"]] for found in (place.first, again)]
    assert digests[0] == digests[1]


def test_a_run_of_which_everything_is_there_never_imports_torch(place: Place):
    """A fresh process, since this one has long loaded it."""
    program = (
        "import sys, luthier.cli.main as face\n"
        "try: face.main(sys.argv[1:])\n"
        "finally: print(sorted({'torch', 'transformers', 'peft', 'accelerate'} & {*sys.modules}), file=sys.stderr)"
    )
    command = [sys.executable, "-c", program, "run", "r.yaml", "--until", "evaluate", "--json"]
    environment = {**os.environ, "TINY_DATA": str(place.folder)}
    done = subprocess.run(command, cwd=place.folder, env=environment, capture_output=True, text=True, check=False)
    assert [stage["reused"] for stage in json.loads(done.stdout)["stages"]] == [True] * 5
    assert done.stderr.splitlines()[-1] == "[]"


def test_the_corridor_ends_at_a_release_that_is_proven_over_http_and_verified(place: Place):
    found = place.call("run", "r.yaml")
    assert [stage["stage"] for stage in found["stages"]][-2:] == ["deploy", "monitor"]
    assert [stage["reused"] for stage in found["stages"]] == [True] * 5 + [False] * 2
    parity = found["parity"]
    assert parity["verdict"] == "PASS"
    assert [step["step"] for step in parity["steps"]] == ["rendered", "merged", "server"], "method full has no adapter"
    assert all(step["measured"]["max_delta"] <= 1e-4 for step in parity["steps"][1:])
    assert parity["num_probes"] == 4

    verified = place.call("release", "verify", "tiny-topics")
    assert verified["release"] == found["release"]
    assert verified["in_audit_log"]
    assert place.call("release", "certify", found["release"][:8])["certificate"]["verdict"] == "PASS"
    again = place.call("run", "r.yaml")
    assert [stage["reused"] for stage in again["stages"]] == [True] * 7
    assert again["parity"] == parity
    answers = place.call(
        "generate", "release:tiny-topics", "--data", "rows.jsonl", "--rows", "6", "--max-new-tokens", "6"
    )
    assert sum(answer["answer"] == answer["reference"] for answer in answers["answers"]) >= 4
