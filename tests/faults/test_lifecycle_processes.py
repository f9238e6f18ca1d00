"""Two real processes on one workspace: the same key attaches, different ones go side by side, the dead give way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from luthier.foundation.schema.sections import Source
from tests.fixtures import fake_stages
from tests.fixtures.fake_stages import Bench

pytestmark = pytest.mark.fault

REPOSITORY = Path(fake_stages.__file__).parents[2]
NOTHING = {"data": False, "model": False, "plan": False, "train": False}
ALL = {"data": True, "model": True, "plan": True, "train": True}


@contextmanager
def start(root: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start a process on the workspace and end it with the test."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, fake_stages.__file__, str(root), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None, "the process ended early"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def wait_for_words(bench: Bench, words: str) -> None:
    assert any(words in sentence for sentence in bench.progress.said), bench.progress.said


def test_a_second_process_with_the_same_recipe_waits_and_takes_the_first_ones_record(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    with start(tmp_path, "rows.txt", "slow") as first:
        wait_for(tmp_path / "began-rows.txt", first)
        say = bench.progress.say

        def say_and_let_go(sentence: str) -> None:
            say(sentence)
            if "waiting for its result" in sentence:
                (tmp_path / "go").touch()

        bench.progress.say = say_and_let_go
        assert bench.reused("train") == ALL
        assert bench.modules["train"].num_runs == 0
        wait_for_words(bench, f"process {first.pid} is running the stage train")
        assert first.communicate(timeout=60)[0] == repr(NOTHING)


def test_runs_that_differ_go_on_side_by_side(tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("four\n")
    bench = Bench(tmp_path)
    bench.run("model")
    with start(tmp_path, "rows.txt", "slow") as first, start(tmp_path, "other.txt", "slow") as second:
        wait_for(tmp_path / "began-rows.txt", first)
        wait_for(tmp_path / "began-other.txt", second)  # both train at once
        (tmp_path / "go").touch()
        assert first.communicate(timeout=60)[0] == repr({**NOTHING, "data": True, "model": True})
        assert second.communicate(timeout=60)[0] == repr({**NOTHING, "model": True})
    assert bench.reused("train") == ALL
    bench.change("data", sources=(Source(path="other.txt"),))
    assert bench.reused("train") == ALL
    assert bench.workspace.audit.find_break() is None, "two writers, one chain"


def test_after_kill_9_the_next_process_takes_over_and_goes_on_from_what_was_saved(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    found = []
    make = bench.modules["train"].make

    def look(section, inputs, ctx):
        found.append((ctx.folder / "checkpoint").read_text())
        return make(section, inputs, ctx)

    bench.modules["train"].make = look
    with start(tmp_path, "rows.txt", "hang") as first:
        wait_for(tmp_path / "began-rows.txt", first)
        first.send_signal(signal.SIGKILL)
        first.wait()
        assert bench.reused("train") == {**ALL, "train": False}
        wait_for_words(bench, f"process {first.pid}, which ran the stage train, is gone")
    assert found == ["step 7"]


def test_sigterm_saves_and_exits_and_the_lock_is_free_at_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    with start(tmp_path, "rows.txt", "hang") as first:
        wait_for(tmp_path / "began-rows.txt", first)
        first.terminate()
        first.wait(timeout=60)
        assert bench.workspace.locks.holders() == []
        states = [execution.state for execution in bench.workspace.executions.find("", stage="train")]
        assert states == ["interrupted"]
    assert bench.reused("train") == {**ALL, "train": False}
