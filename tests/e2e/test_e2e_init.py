"""From ``init`` to a chat: every template and three files of different shapes through all stages, on a tiny base."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from luthier.examples.templates.template import TEMPLATES
from tests.fixtures.command_line import call

QUICK = (
    *("model.base=../base", "model.license=MIT", "plan.probes=4", "plan.precision=fp32"),
    *("train.max_steps=2", "train.evaluations=0", "train.max_length=2048"),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.fixtures.tiny_models import build_tiny

    folder = tmp_path_factory.mktemp("init")
    build_tiny("llama", folder / "base", max_position_embeddings=4096)
    return folder


def run(folder: Path, *changes: str, code: int) -> dict[str, Any]:
    words = [word for change in (*QUICK, *changes) for word in ("--set", change)]
    done = call(folder, "run", "recipe.yaml", *words)
    assert done.returncode == code, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def say(folder: Path, ref: str) -> str:
    """Ask one question on the command line, as a person does."""
    command = [sys.executable, "-m", "luthier", "chat", ref, "--max-tokens", "4"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, input="hello\n", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def short_answers(folder: Path) -> str:
    """The recipe's own suites with answers of four tokens: an untrained model stops by itself only by chance."""
    done = call(folder, "recipe", "show", "recipe.yaml")
    suites = json.loads(done.stdout)["recipe"]["evaluate"]["suites"]
    for suite in suites:
        if "max_new_tokens" in suite:
            suite |= {"max_new_tokens": 4, "max_questions": 3}
    return "evaluate.suites=" + json.dumps(suites)


IN_THE_DEFAULT_SUITE = "classification"
RUN_BY_CI = [
    pytest.param(template, marks=() if template == IN_THE_DEFAULT_SUITE else pytest.mark.slow) for template in TEMPLATES
]


@pytest.mark.parametrize("template", RUN_BY_CI)
def test_a_template_runs_to_a_release_that_answers(template: str, place: Path):
    made = json.loads(call(place, "init", template, "--template", template).stdout)
    folder = place / template
    assert call(folder, "recipe", "check", "recipe.yaml").returncode == 0

    found = run(folder, short_answers(folder), "evaluate.gates=[]", code=0)

    assert [stage["stage"] for stage in found["stages"]][-1] == "monitor"
    say(folder, made["next"][-1].rpartition(" ")[2])


def write_labels(path: Path) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "Message", "Team"])
        writer.writerows([n, f"message number {n}, please", ("sales", "billing", "returns")[n % 3]] for n in range(30))


def write_prompts(path: Path) -> None:
    rows = ({"prompt": f"question {n}?", "completion": f"The answer to it is {n * 7}."} for n in range(30))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_calls(path: Path) -> None:
    parameters = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    tools = [{"type": "function", "function": {"name": "count", "description": "Count.", "parameters": parameters}}]
    lines = []
    for n in range(30):
        call_it = {"id": "c", "type": "function", "function": {"name": "count", "arguments": json.dumps({"n": n})}}
        answer = {"role": "assistant", "content": "", "tool_calls": [call_it]}
        lines.append({"messages": [{"role": "user", "content": f"Count to {n}."}, answer], "tools": tools})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


FILES = {
    "labels.csv": (write_labels, "classification"),
    "prompts.jsonl": (write_prompts, "chat"),
    "calls.jsonl": (write_calls, "tools"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_ones_own_leads_to_a_model_to_talk_to_also_where_the_gate_denies_it(name: str, place: Path):
    write, template = FILES[name]
    write(place / name)
    made = call(place, "init", f"own-{template}", "--data", name)
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["template"] == template
    folder = place / f"own-{template}"

    found = run(folder, short_answers(folder), code=3)

    assert found["verdict"] != "PASS"
    say(folder, f"run:{found['run']}")


def test_a_run_that_is_denied_says_how_to_talk_to_what_was_trained(place: Path):
    folder = place / "own-chat"
    if not folder.is_dir():
        test_a_file_of_ones_own_leads_to_a_model_to_talk_to_also_where_the_gate_denies_it("prompts.jsonl", place)
    words = [word for change in (*QUICK, short_answers(folder)) for word in ("--set", change)]
    command = [sys.executable, "-m", "luthier", "run", "recipe.yaml", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 3
    assert "the tuned model is there all the same; talk to it: luthier chat run:" in done.stdout
