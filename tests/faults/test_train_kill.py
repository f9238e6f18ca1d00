"""kill -9 and Ctrl-C at seeded moments of a run, saves included: it ends with the same weights all the same."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.fault
REPOSITORY = Path(__file__).parents[2]
NUM_MOMENTS = 20
NUM_DEFAULT = 5


def moment(index: int) -> Any:
    return pytest.param(index, marks=[] if index < NUM_DEFAULT else pytest.mark.slow)


class ForkServer:
    """Asks the server for attempts."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.train_fork_server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env=environment,
        )

    def attempt(self, folder: Path, **request: Any) -> tuple[int, dict[str, Any]]:
        """Run one attempt; return how it ended and what it left."""
        folder.mkdir(exist_ok=True)
        (folder / "result.json").unlink(missing_ok=True)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"folder": str(folder), **request}) + "\n")
        self._process.stdin.flush()
        code = int(json.loads(self._process.stdout.readline())["exit"])
        result = folder / "result.json"
        return code, json.loads(result.read_text()) if result.is_file() else {}

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    running = ForkServer()
    yield running
    running.close()


@pytest.fixture(scope="module")
def whole(server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    code, result = server.attempt(tmp_path_factory.mktemp("whole"))
    assert code == 0
    assert len(result["saving"]) > 100
    return result


def draw_moment(whole: dict[str, Any], index: int, *, seed: int) -> int:
    """Every other moment lies inside a save or a restore."""
    stream = random.Random(seed + index)  # noqa: S311  repeatable, not secret
    return stream.choice(whole["saving"]) if index % 2 else stream.randint(1, whole["lines"])


@pytest.mark.parametrize("index", [moment(index) for index in range(NUM_MOMENTS)])
def test_a_run_that_was_killed_ends_with_the_same_weights(
    index: int, server: ForkServer, whole: dict[str, Any], tmp_path: Path
) -> None:
    at = draw_moment(whole, index, seed=1000)
    code, _ = server.attempt(tmp_path / "run", at=at, signal=signal.SIGKILL)
    assert code == -signal.SIGKILL
    has_checkpoint = any((tmp_path / "run" / "checkpoints").glob("step-*"))
    code, result = server.attempt(tmp_path / "run")
    assert (code, result.get("sha256")) == (0, whole["sha256"]), f"killed at line {at}"
    assert ("going on from the checkpoint" in result["said"]) == has_checkpoint
    assert "damaged" not in result["said"], "a kill never leaves a damaged checkpoint"


def test_a_run_killed_again_and_again_ends_with_the_same_weights(
    server: ForkServer, whole: dict[str, Any], tmp_path: Path
) -> None:
    stream = random.Random(7)  # noqa: S311  repeatable, not secret
    for _ in range(3):
        server.attempt(tmp_path / "run", at=stream.randint(1, whole["lines"] // 2), signal=signal.SIGKILL)
    assert server.attempt(tmp_path / "run")[1]["sha256"] == whole["sha256"]


@pytest.mark.parametrize("index", [moment(index) for index in range(NUM_MOMENTS)])
def test_ctrl_c_saves_and_the_run_ends_with_the_same_weights(
    index: int, server: ForkServer, whole: dict[str, Any], tmp_path: Path
) -> None:
    at = draw_moment(whole, index, seed=2000)
    code, result = server.attempt(tmp_path / "run", at=at, signal=signal.SIGINT)
    assert code == 130
    assert "saved" in result["error"]
    assert any((tmp_path / "run" / "checkpoints").glob("step-*"))
    code, result = server.attempt(tmp_path / "run")
    assert (code, result["sha256"]) == (0, whole["sha256"]), f"interrupted at line {at}"
    assert " 0 steps are repeated" in result["said"]


def test_sigterm_ends_with_its_own_exit_code(server: ForkServer, whole: dict[str, Any], tmp_path: Path) -> None:
    code, result = server.attempt(tmp_path / "run", at=whole["lines"] // 2, signal=signal.SIGTERM)
    assert code == 143
    assert "SIGTERM" in result["error"]
