"""The demo through real processes: whole on a tiny base, denied by its gate, again for nothing; and the real one."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.command_line import call

pytestmark = pytest.mark.timeout(1200)  # whole lifecycles in processes of their own; a crowded machine is slow
SUITE = "{type: task, on: held_out, metrics: [exact_match], max_questions: 54, base_questions: 4, max_new_tokens: 3}"
TINY = (
    "model.base=BASE",
    "model.license=LicenseRef-own",
    "plan.num_examples=6",
    "plan.probes=2",
    "plan.precision=fp32",
    "train.max_length=8192",
    f"evaluate.suites=[{SUITE}]",
    "evaluate.systems=[base, base_few_shot, copy, tuned]",
)


@dataclass(frozen=True)
class Place:
    """A folder with a tiny base."""

    folder: Path

    def demo(self, *changes: str, words: tuple[str, ...] = (), code: int = 0) -> dict[str, Any]:
        changed = [change.replace("BASE", str(self.folder / "base")) for change in (*TINY, *changes)]
        done = call(self.folder, "demo", *words, *(word for change in changed for word in ("--set", change)))
        assert done.returncode == code, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    from tests.fixtures.tiny_models import build_tiny

    folder = tmp_path_factory.mktemp("demo")
    build_tiny("llama", folder / "base", max_position_embeddings=16_384, initializer_range=0.05)
    return Place(folder)


@pytest.fixture(scope="module")
def whole(place: Place) -> dict[str, Any]:
    return place.demo("evaluate.gates=[]")


def test_all_seven_stages_and_every_figure_that_the_demo_promises(whole: dict[str, Any]):
    assert [stage["stage"] for stage in whole["stages"]] == [
        "data",
        "model",
        "plan",
        "train",
        "evaluate",
        "deploy",
        "monitor",
    ]
    assert whole["planted"].keys() == {
        "exact_duplicate",
        "near_duplicate",
        "personal_data",
        "broken_encoding",
        "leaked_evaluation",
        "poisoned",
    }
    for kind, found in whole["planted"].items():
        assert found["n"] >= 20, kind
        assert found["recall"] > 0.5, kind
    assert {"metric", "base", "base_few_shot", "copy", "tuned", "difference", "interval", "p"} <= whole["gain"].keys()
    assert (whole["gain"]["n"], whole["gain"]["verdict"]) == (4, "PASS")
    assert whole["parity"]["verdict"] == "PASS"
    assert whole["drift"]["changed_from"]
    assert whole["drift"]["verdict"] in {"drift", "none", "too_few_rows"}
    assert whole["peak_memory_bytes"] > 1 << 26


def test_the_page_needs_nothing_else_and_shows_every_part(whole: dict[str, Any]):
    page = Path(whole["report"]).read_text(encoding="utf-8")
    assert not re.search(r"<script|https?:|//[a-z]|src=|@import|url\(", page)
    assert page.count("<section") == page.count("</section") >= 9
    for part in ("Before and after", "copy", "base_few_shot", "near duplicate", "polyline", "Lineage", "prefers-color"):
        assert part in page, part
    assert 1 <= page.count("<div class='answers'>") <= 5


def test_a_second_demo_reuses_every_stage_and_says_the_same(place: Place, whole: dict[str, Any]):
    again = place.demo("evaluate.gates=[]")
    assert [stage["reused"] for stage in again["stages"]] == [True] * 7
    assert again["release"] == whole["release"]
    assert (again["drift"], again["gain"], again["planted"]) == (whole["drift"], whole["gain"], whole["planted"])


def test_a_gate_that_does_not_pass_ends_with_3_and_its_report_all_the_same(place: Place, whole: dict[str, Any]):
    found = place.demo("evaluate.gates=[{metric: task.exact_match, above: base}]", code=3)
    assert [stage["stage"] for stage in found["stages"]][-1] == "evaluate"
    assert found["denied"]["type"] == "PolicyDenied"
    assert (found["parity"], found["drift"]) == (None, None)
    assert "No release was made" in Path(found["report"]).read_text(encoding="utf-8")
    assert found["planted"] == whole["planted"]


def test_controls_that_learn_nothing_do_not_pass(place: Place):
    gates = "evaluate.gates=[{metric: task.exact_match, above: base}]"
    found = place.demo(gates, words=("--controls",), code=3)
    controls = found["controls"]
    assert controls.keys() == {"shuffled_answers", "base_against_itself", "random_selection"}
    assert all(control["holds"] for control in controls.values())
    assert controls["base_against_itself"]["difference"] == 0


def test_a_missing_base_is_one_error_and_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "cache"))
    done = call(tmp_path, "demo")
    assert done.returncode == 4
    assert "luthier model pull smollm2-135m-instruct" in done.stderr
    assert not (tmp_path / ".luthier").exists()


# As many rows as 1.6 minutes hold on two quiet cores with bfloat16, whatever else this machine does just now.
FIXED_ROWS = ("--set", "plan.minutes=null", "--set", "plan.num_examples=240")


@pytest.mark.base
@pytest.mark.timeout(1800)
def test_the_real_demo_gains_25_points_and_what_three_examples_and_a_copy_do_not(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "luthier", "demo", "--json", "--workspace", str(tmp_path), *FIXED_ROWS],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    gain = found["gain"]
    assert gain["difference"] >= 0.25
    assert gain["tuned"] > max(gain["base_few_shot"], gain["copy"])
    assert found["parity"]["verdict"] == "PASS"
    assert found["drift"]["verdict"] == "drift"
    assert found["peak_memory_bytes"] < 3 << 30
