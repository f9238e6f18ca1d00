"""Preferences through real processes: pairs to a verdict against a coin, again for nothing, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fixtures.command_line import call

RECIPE = """\
luthier: 1
name: tiny-preferences
data:
  sources: [{path: "${TINY_DATA}/pairs.jsonl", license: LicenseRef-own}]
  operators: []
  split: {validation: 0.1, test: 0.3}
model: {base: "${TINY_DATA}/base", license: LicenseRef-own}
plan: {probes: 4, precision: fp32}
train:
  method: {type: lora, rank: 8}
  objective: {type: dpo, beta: 0.5}
  learning_rate: 5e-3
  max_length: 128
  epochs: 2
  evaluations: 2
  checkpoints: 1
evaluate:
  suites: [preference]
  gates: [{metric: preference.pair_accuracy, above: base}]
"""


def make_pairs(num_pairs: int) -> list[dict[str, Any]]:
    """Write pairs whose better answer is polite, whichever of two words it is about; three pairs share a prompt."""
    random = np.random.default_rng(0)
    words = ("card", "coin", "loan", "mail", "door", "bus", "rice", "fish", "song", "moon")
    rows = []
    for index in range(num_pairs):
        prompt = f"where is the {words[index // 3 % 10]} {index // 3}"
        good, bad = (f"{start} the {random.choice(words)}" for start in ("please see", "go away to"))
        chat = {"chosen": good, "rejected": bad}
        answers = {side: [{"role": "assistant", "content": text}] for side, text in chat.items()}
        rows.append({"prompt": [{"role": "user", "content": prompt}], **answers})
    return rows


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.fixtures.tiny_task import build_untrained

    folder = tmp_path_factory.mktemp("preferences")
    build_untrained(folder / "base")
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in make_pairs(120)))
    (folder / "r.yaml").write_text(RECIPE)
    return folder


def test_pairs_become_a_model_that_prefers_as_people_did_and_runs_are_reused(place: Path) -> None:
    first = call(place, "run", "r.yaml", "--until", "evaluate")
    assert first.returncode == 0, first.stderr
    found = json.loads(first.stdout)
    assert found["verdict"] == "PASS"
    assert found["gain"]["value"] > 0.3, "0.5 more than a coin is all that there is"
    (curve,) = place.glob(".luthier/runs/*/metrics.jsonl")
    lines = [json.loads(line) for line in curve.read_text().splitlines()]
    assert lines[0]["loss"] == pytest.approx(0.6931, abs=1e-3)
    assert lines[-1]["validation_reward_accuracy"] > 0.8
    again = json.loads(call(place, "run", "r.yaml", "--until", "evaluate").stdout)
    assert all(stage["reused"] for stage in again["stages"])
    assert again["report"] == found["report"]


def test_a_method_that_overwrites_the_base_is_refused_before_anything_is_read(place: Path) -> None:
    done = call(place, "run", "r.yaml", "--until", "evaluate", "--set", "train.method=full")
    assert done.returncode == 2
    assert "E-REC-008" in done.stderr + done.stdout
    assert "train.method: lora" in done.stderr + done.stdout


def test_imitation_of_pairs_is_refused_with_the_objective_that_fits(place: Path) -> None:
    done = call(place, "run", "r.yaml", "--until", "plan", "--set", "train.objective=sft")
    assert done.returncode == 2
    assert "E-TXT-016" in done.stderr + done.stdout
    assert "--set train.objective=dpo" in done.stderr + done.stdout
