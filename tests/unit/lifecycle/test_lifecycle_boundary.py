"""The stage boundary: the reason why a stage ended always gets out, whatever else goes wrong on the way."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from luthier.foundation.core.errors import Interrupted, LuthierError, StageFailed, StoreError
from luthier.foundation.core.files import REAL, FileSystem
from luthier.lifecycle.boundary import Terminated, guard_stage, interruptible
from luthier.lifecycle.stages_table import STAGES
from tests.fixtures.fake_stages import Bench, open_quick_folder
from tests.fixtures.store_records import FailingFileSystem

PLAN = STAGES[2]


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_quick_folder() as path:
        yield path


def end(error: BaseException, folder: Path, *, fs: FileSystem = REAL, note: Callable[..., None] | None = None) -> list:
    """Let a stage end with an error; return what left the boundary and what was put on record."""
    noted: list[object] = []
    try:
        with guard_stage(PLAN, folder=folder, fs=fs, note=note or (lambda state, facts: noted.append((state, facts)))):
            raise error
    except LuthierError as left:
        return [left, *noted]


def test_each_way_to_end_has_its_state_and_its_error(folder: Path) -> None:
    own = Interrupted("E-TRN-003", "stopped after step 7", fix="run again")
    known = StoreError("E-STO-007", "busy", fix="wait")
    for error, state, code, exit_code in (
        (own, "interrupted", "E-TRN-003", 130),
        (known, "failed", "E-STO-007", 4),
        (KeyboardInterrupt(), "interrupted", "E-LIF-005", 130),
        (Terminated(), "interrupted", "E-LIF-005", 143),
        (OSError(errno.ENOSPC, "full"), "failed", "E-ENV-003", 4),
        (OSError(errno.EIO, "broken"), "failed", "E-LIF-003", 1),
        (MemoryError(), "failed", "E-LIF-003", 1),
    ):
        left, (noted_state, facts) = end(error, folder)
        assert (noted_state, left.code, left.exit_code) == (state, code, exit_code)
        assert facts == left.to_dict()
        assert left.problems[0].fix


def test_a_traceback_that_cannot_be_written_goes_to_the_log_and_the_failure_gets_out(
    folder, caplog, monkeypatch
) -> None:
    monkeypatch.setattr(logging.getLogger("luthier"), "propagate", True)
    left, _ = end(ZeroDivisionError("oops"), folder, fs=FailingFileSystem(1))
    assert isinstance(left, StageFailed)
    assert "ZeroDivisionError" in str(left)
    assert "could not be written" in caplog.text
    assert "oops" in caplog.text


def test_an_end_that_cannot_be_recorded_is_logged_and_the_failure_gets_out(folder, caplog, monkeypatch) -> None:
    monkeypatch.setattr(logging.getLogger("luthier"), "propagate", True)

    def refuse(*_: object) -> None:
        raise StoreError("E-STO-007", "busy", fix="wait")

    known = StoreError("E-ENV-003", "full", fix="luthier gc")
    assert end(known, folder, note=refuse) == [known]
    assert "E-STO-007" in caplog.text


def test_a_signal_outside_a_stage_is_an_interruption_too() -> None:
    for error, exit_code in ((KeyboardInterrupt(), 130), (Terminated(), 143)):

        def act(error: BaseException = error) -> None:
            with interruptible("the corridor"):
                raise error

        with pytest.raises(Interrupted) as caught:
            act()
        assert caught.value.exit_code == exit_code


def test_ctrl_c_while_waiting_for_another_process_leaves_its_lock_alone(folder: Path) -> None:
    bench = Bench(folder)
    key = bench.run("data").stages[0].cache_key
    with bench.workspace.database.write() as connection:
        connection.execute(text("DELETE FROM executions"))
        connection.execute(text("INSERT INTO locks VALUES (:key, 'theirs', 'elsewhere', 1, '', 0, '')"), {"key": key})

    def stop(_: str) -> None:
        raise KeyboardInterrupt

    bench.progress.say = stop
    with pytest.raises(Interrupted, match="E-LIF-005"):
        bench.run("data")
    assert [holder.owner for holder in bench.workspace.locks.holders()] == ["theirs"]
