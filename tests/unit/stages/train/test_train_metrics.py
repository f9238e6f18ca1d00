"""metrics.jsonl: one whole line a step, and nothing of a step that will be repeated."""

from __future__ import annotations

import json
from pathlib import Path

from luthier.stages.train.metrics import MetricsLog, find_last_step, read_metrics


def write(path: Path, steps: range, *, after_step: int) -> None:
    with MetricsLog(path, after_step=after_step) as log:
        for step in steps:
            log.write(step=step, loss=step / 10, validation_loss=None)


def test_each_line_is_on_disk_before_the_next_step(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path, after_step=0) as log:
        log.write(step=1, loss=0.5)
        assert json.loads(path.read_text()) == {"step": 1, "loss": 0.5}


def test_figures_that_are_not_there_are_left_out(tmp_path: Path) -> None:
    write(tmp_path / "m", range(1, 2), after_step=0)
    assert list(read_metrics(tmp_path / "m")) == [{"step": 1, "loss": 0.1}]


def test_opening_at_a_step_forgets_what_a_former_attempt_wrote_after_it(tmp_path: Path) -> None:
    path = tmp_path / "m"
    write(path, range(1, 8), after_step=0)
    write(path, range(5, 7), after_step=4)
    assert [entry["step"] for entry in read_metrics(path)] == [1, 2, 3, 4, 5, 6]
    assert find_last_step(path) == 6


def test_a_line_torn_by_a_kill_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "m"
    write(path, range(1, 4), after_step=0)
    with path.open("a") as stream:
        stream.write('{"step": 4, "los')
    assert find_last_step(path) == 3
    write(path, range(4, 5), after_step=4)
    assert [entry["step"] for entry in read_metrics(path)] == [1, 2, 3, 4]


def test_lines_that_are_no_metrics_end_the_curve(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_text('{"step": 1}\n[2]\n{"step": 3}\n')
    assert find_last_step(path) == 1
    assert find_last_step(tmp_path / "absent") == 0
