"""One run in one process and in two that add their gradients up: the same curve, the same weights."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
RANK = """\
import json, os, sys
from pathlib import Path
from tests.fixtures.train_jobs import LORA, make_job, train_job

folder = Path(sys.argv[1])
job = make_job(folder, num_rows=9, num_validation=3, evaluate_every=4, method={**LORA, "dropout": 0.0})
trained = train_job(job)
answer = {"weights": trained.weights_sha256, "best_step": trained.curve.best_step, "num_steps": job.plan.num_steps}
(folder / f"rank-{os.environ.get('RANK', '0')}.json").write_text(json.dumps(answer))
"""


def start(folder: Path, **variables: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", **variables}
    command = [sys.executable, "-c", RANK, str(folder)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def train_in(folder: Path, num_ranks: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Train and return what each rank says, and the lines of the one curve."""
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": str(num_ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    each = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(num_ranks)]
    processes = [start(folder, **(shared | own if num_ranks > 1 else {})) for own in each]
    try:
        errors = [process.communicate(timeout=240)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * num_ranks, "\n".join(errors)
    answers = [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(num_ranks)]
    return answers, [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_two_processes_train_what_one_trains_and_the_first_alone_keeps_the_curve(tmp_path: Path) -> None:
    """Sums of two halves are rounded otherwise than sums in a row, so figures agree to float32's last digits.

    Nine rows make steps that have a single pack, too, in which the second rank has nothing to do.
    """
    (one,), curve_of_one = train_in(tmp_path / "one", 1)
    both, curve_of_two = train_in(tmp_path / "two", 2)

    assert both[0]["weights"] == both[1]["weights"], "ranks must never drift apart"
    assert [answer["best_step"] for answer in both] == [one["best_step"]] * 2
    assert [line["step"] for line in curve_of_two] == list(range(1, one["num_steps"] + 1))
    for ours, theirs in zip(curve_of_two, curve_of_one, strict=True):
        figures = {"loss", "grad_norm", "validation_loss"} & set(theirs)
        assert {name: ours[name] for name in figures} == pytest.approx({n: theirs[n] for n in figures}, rel=1e-4)
