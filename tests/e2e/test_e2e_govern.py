"""A run that is stopped by its gate, overridden, approved and released, through real processes; then its evidence."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

RECIPE = """\
luthier: 1
name: tiny-topics
data:
  sources: [{path: rows.jsonl, license: LicenseRef-own, basis: own}]
model: {base: ./base, license: LicenseRef-own}
plan: {probes: 2, precision: fp32}
train: {method: full, learning_rate: 4e-3, batch_tokens: 800, max_length: 128, max_steps: 2, evaluations: 1}
evaluate:
  suites: [{type: task, on: test, metrics: [exact_match], max_questions: 5, max_new_tokens: 2}]
  gates: [{metric: task.exact_match, above: base}]
deploy: {exports: [merged]}
govern: {approvals: 2}
"""


class Place:
    """A folder with rows, a base and a recipe whose gate two steps of training cannot pass."""

    def __init__(self, folder: Path) -> None:
        from tests.fixtures.tiny_task import build_untrained, make_task_rows

        self.folder = folder
        build_untrained(folder / "base")
        rows = [
            {"messages": [{"role": message.role, "content": message.text} for message in row.messages]}
            for row in make_task_rows(120, seed=0)
        ]
        (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder / "r.yaml").write_text(RECIPE)

    def start(self, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "LUTHIER_AUTHOR": "Eve"}
        command = [sys.executable, "-m", "luthier", *words]
        return subprocess.run(
            command, cwd=self.folder, env=environment, input="", capture_output=True, text=True, check=False
        )

    def call(self, *words: str, code: int = 0) -> dict[str, Any]:
        done = self.start(*words, "--json")
        assert done.returncode == code, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def approve(self, report: str, by: str, *words: str, code: int = 0) -> dict[str, Any]:
        return self.call("govern", "approve", report[:12], "--by", by, "--reason", "a test", *words, code=code)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("govern"))


def test_a_gate_stops_a_run_with_3_approvals_hold_it_with_5_and_then_it_is_released(place: Place):
    denied = place.call("run", "r.yaml", code=3)
    report = denied["report"]
    assert denied["verdict"] == "INCONCLUSIVE"
    assert denied["denied"]["problems"][0]["fix"].startswith(f"luthier govern approve {report[:12]} --override")
    assert [stage["stage"] for stage in denied["stages"]][-1] == "evaluate"

    assert place.approve(report, "EVE", "--override", code=3)["error"]["problems"][0]["code"] == "E-GOV-002"
    place.approve(report, "Ada", "--override")
    waiting = place.call("run", "r.yaml", code=5)
    assert waiting["waiting"]["reason"] == "approval"
    assert f"luthier govern approve {report[:12]}" in waiting["waiting"]["detail"]

    place.approve(report, "Grace")
    released = place.call("run", "r.yaml")
    assert [stage["stage"] for stage in released["stages"]][:6] == [
        *("data", "model", "plan", "train", "evaluate", "deploy")
    ]
    assert all(stage["reused"] for stage in released["stages"][:5])
    check_evidence(place, released, report)


def check_evidence(place: Place, released: dict[str, Any], report: str) -> None:
    """Look at the release with the commands that an auditor has."""
    release = released["release"]
    found = place.call("govern", "lineage", "tiny-topics")
    nodes = {node["digest"]: node for node in found["nodes"]}
    assert found["record"] == release
    assert found["authors"] == ["Eve"]
    (source,) = next(node for node in nodes.values() if node["kind"] == "dataset_version")["sources"]
    assert source["sha256"] == hashlib.sha256((place.folder / "rows.jsonl").read_bytes()).hexdigest()
    assert [approval["by"] for approval in nodes[report]["approvals"]] == ["Ada", "Grace"]
    assert all(parent in nodes for node in nodes.values() for parent in node["parents"].values())

    card = place.call("govern", "card", release[:12])["card"]
    assert card == (place.folder / ".luthier" / "releases" / release / "card.md").read_text()
    assert "overridden by Ada: a test" in card
    assert re.search(r"\| merged \| within \|", card)

    served = place.start("serve", "release:tiny-topics", "--port", "0", "--json", "--until-stdin-closes")
    assert served.returncode == 0, served.stderr
    verdict = place.call("govern", "audit", "verify")
    assert (verdict["intact"], verdict["heads_noted"], verdict["remarks"]) == (True, 1, [])
    actions = [entry["action"] for entry in place.call("govern", "audit", "show")["entries"]]
    for action in (
        "stage.started",
        "gate.denied",
        "approval.recorded",
        "gate.waiting",
        "stage.done",
        "release.made",
        "release.served",
    ):
        assert action in actions
