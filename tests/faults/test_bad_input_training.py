"""Training that cannot be, through the real command line: too large, too fast, on layers that are not there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fixtures.bad_input import STAGES, Desk, Ended, check_nothing_lost, check_refusal, check_words
from tests.fixtures.data_rows import make_record, write_jsonl

pytestmark = pytest.mark.fault

PLANS: dict[str, tuple[tuple[str, str], str, tuple[str, ...]]] = {
    "a rank larger than the layer": (("rank: 2", "rank: 4096"), "E-ENG-003", ("4096", "1 to 32", "train.method.rank:")),
    "a target that matches nothing": (
        ("rank: 2", "rank: 2, target_modules: [wonder_proj]"),
        "E-ENG-004",
        ("wonder_proj", "q_proj", "target_modules: ["),
    ),
    "a memory that is too small": (
        ("probes: 2,", "probes: 2, memory_limit: 100 MiB,"),
        "E-PLN-001",
        ("0.10 GiB", "at the peak", "plan.memory_limit"),
    ),
    "a memory that is no size": (("probes: 2,", "probes: 2, memory_limit: plenty,"), "E-PLN-005", ("8 GiB",)),
}


@pytest.mark.parametrize("case", PLANS)
def test_a_run_that_cannot_be_is_refused_by_the_plan_before_anything_is_loaded(desk: Desk, case: str) -> None:
    change, code, parts = PLANS[case]
    check_refusal(desk, ["run", desk.write_recipe(change), "--until", "train"], codes=[code], parts=parts)


def test_a_learning_rate_that_diverges_stops_the_run_with_a_lower_one_and_keeps_no_record(desk: Desk) -> None:
    recipe = desk.write_recipe(("1e-3", "1e9"), ("max_steps: 2", "max_steps: 50\n  epochs: 100"))
    before = desk.keep()
    spoken, shown = (desk.call("run", recipe, "--until", "train", *more) for more in ((), ("--json",)))
    assert shown.problems[0]["code"] in {"E-TRN-001", "E-TRN-002"}
    check_words(spoken, shown, exit_code=1, codes=[shown.problems[0]["code"]], parts=["train.learning_rate"])
    check_nothing_lost(desk, before, stores=["plan"])
    (failed,) = [run for run in desk.call("runs", "--json").answer["runs"] if run["state"] != "done"]
    assert failed["state"] == "failed"
    status = desk.call("status", "--json").answer
    assert [unfinished["stage"] for unfinished in status["unfinished"]] == ["train"]


def test_a_validation_set_without_a_row_that_can_be_scored_is_refused_before_the_first_step(desk: Desk) -> None:
    """Only the customer whose ten rows are all too long fits the share of validation."""
    short = [make_record(f"question {n}", f"answer {n}", customer="one") for n in range(30)]
    long = [make_record(f"question {n}", "word " * 300, customer="two") for n in range(30, 40)]
    write_jsonl(desk.folder / "bad.jsonl", [*short, *long])
    split = "split: {by: customer, validation: 0.25, test: 0}"
    suites = ("on: test", "on: validation")
    recipe = desk.write_recipe(("rows.jsonl", "bad.jsonl"), ("sources:", f"{split}\n  sources:"), suites)
    ended = desk.call("run", recipe, "--until", "train", "--json")
    assert (ended.code, [problem["code"] for problem in ended.problems]) == (1, ["E-TRN-007"])
    assert "--set train.evaluations=0" in ended.err
    assert desk.reuses_everything()
    again = desk.call("run", recipe, "--until", "train", "--set", "train.evaluations=0", "--json")
    assert again.code == 0, "the fix works"


def test_the_fix_of_a_refused_plan_leads_to_a_run(desk: Desk) -> None:
    recipe = desk.write_recipe(("rank: 2", "rank: 4096"))
    (problem,) = desk.call("plan", recipe, "--json").problems
    key, _, value = problem["fix"].partition(": ")
    ended = desk.call("plan", recipe, "--set", f"{key}={value}", "--json")
    assert ended.code == 0, ended.err
    assert [stage["stage"] for stage in ended.answer["stages"]] == list(STAGES[:3])


def find_curves(desk: Desk) -> set[Path]:
    return {path for path in (desk.folder / ".luthier").rglob("metrics.jsonl") if path.stat().st_size}


@pytest.mark.parametrize(
    ("number", "exit_code"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)],
)
def test_a_signal_in_the_middle_of_training_saves_says_how_to_go_on_and_going_on_works(
    desk: Desk, number: signal.Signals, exit_code: int
) -> None:
    desk.write_recipe(("rank: 2", "rank: 3"), ("max_steps: 2", "max_steps: 200\n  epochs: 100"), name="new.yaml")
    before, kept = find_curves(desk), desk.keep()
    process = subprocess.Popen(
        [sys.executable, "-m", "luthier", "run", "new.yaml", "--until", "train", "--json"],
        cwd=desk.folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while process.poll() is None and find_curves(desk) <= before:
            time.sleep(0.01)
        process.send_signal(number)
        out, err = process.communicate()
    finally:
        process.kill()
    ended = Ended(process.returncode, out, err)
    assert ended.code == exit_code, ended.err
    assert "Traceback" not in ended.err
    (problem,) = ended.problems
    assert problem["code"] in {"E-TRN-003", "E-LIF-005"}
    assert "same command" in problem["fix"]
    assert not kept.loses_to(desk.keep())
    again = desk.call("run", "new.yaml", "--until", "train", "--json")
    assert again.code == 0, again.err
    assert "going on from the checkpoint" in again.err
    assert desk.reuses_everything()
