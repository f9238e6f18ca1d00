"""The loop, through real processes: a release answers, people correct it, and the next run knows better.

The first release never saw the topic ``pet``. Its answers are corrected over HTTP, the corrections reviewed, the next
run made from the release; on held-out rows that neither was trained on, the new run is better.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.tiny_task import build_untrained, make_task_rows

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

UNKNOWN = "pet"
NUM_CORRECTIONS = 150
RECIPE = """\
luthier: 1
name: topics
data:
  sources: [{path: rows.jsonl, license: LicenseRef-own}]
model: {base: base, license: LicenseRef-own}
plan: {probes: 4, precision: fp32}
train:
  method: full
  learning_rate: 4e-3
  batch_tokens: 800
  max_length: 128
  epochs: 5
  evaluations: 1
  checkpoints: 1
evaluate:
  suites: [{type: task, on: test, metrics: [exact_match], max_new_tokens: 6}]
  gates: [{metric: task.exact_match, above: base}]
"""


def call(folder: Path, *words: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "luthier", *words, "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "luthier", "serve", "--port", "0", "--until-stdin-closes", "--json"]
    with subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())["url"]
        finally:
            process.stdin.close()
            process.wait()


def post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310
    with urllib.request.urlopen(request) as answer:  # noqa: S310  loopback
        found: dict[str, Any] = json.loads(answer.read())
    return found


def correct(url: str, asked: str) -> str:
    """Ask, and say what the answer should have been; return what it was."""
    messages = [{"role": "user", "content": asked}]
    answer = post(f"{url}/chat/completions", {"model": "topics", "messages": messages, "max_tokens": 6})
    said = {"response_id": answer["id"], "rating": "down", "correction": UNKNOWN, "messages": messages}
    assert post(f"{url}/feedback", said)["state"] == "new"
    return str(answer["choices"][0]["message"]["content"])


def test_what_people_correct_the_next_run_knows(tmp_path: Path) -> None:
    build_untrained(tmp_path / "base")
    rows = make_task_rows(1000, seed=0)
    known = [row for row in rows if row.messages[1].text != UNKNOWN]
    lines = [{"messages": [{"role": m.role, "content": m.text} for m in row.messages]} for row in known]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "r.yaml").write_text(RECIPE)
    first = call(tmp_path, "run", "r.yaml")

    pets = [row for row in make_task_rows(4000, seed=1) if row.messages[1].text == UNKNOWN]
    asked = list(dict.fromkeys(row.messages[0].text for row in pets))[:NUM_CORRECTIONS]
    with serve(tmp_path) as url, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda text: correct(url, text), asked))
    assert UNKNOWN not in answers, "it was never taught"

    new = call(tmp_path, "feedback", "list", "--state", "new")["feedback"]
    assert len(new) == len(asked), "nothing is lost"
    call(tmp_path, "feedback", "review", *(piece["id"] for piece in new), "--accept", "--by", "Ann")
    done = call(tmp_path, "retune", "topics", "--run")

    assert (done["run"], done["num_rows"]) == (first["run"], len(asked))
    assert "the second is better" in done["compared"]["verdicts"]["exact_match"]
    assert len(done["compared"]["better"]) >= 3
    assert done["result"]["verdict"] == "PASS"
    assert [stage["stage"] for stage in done["result"]["stages"]][-1] in {"deploy", "monitor"}
    assert done["result"]["run"] != first["run"]
