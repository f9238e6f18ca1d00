"""Locks: one owner per key, judged dead by silence or by its process, never by a clock that jumps."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from luthier.foundation.core.clock import FixedClock
from luthier.foundation.core.errors import StoreError
from luthier.foundation.store.database import Database
from luthier.foundation.store.locks import Holder, Lock, Locks, Pace
from luthier.foundation.store.processes import find_process_start, is_same_process, name_host


class Scene:
    """A database with a fake sleep that moves the clock and can make things happen."""

    def __init__(self, tmp_path: Path) -> None:
        file = tmp_path / "luthier.db"
        self.database = Database(f"sqlite:///{file}", file=file)
        self.clock = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
        self.slept = 0
        self.waited: list[Holder] = []
        self.taken_over: list[Holder] = []
        self.on_sleep: Callable[[int], None] = lambda _: None
        pace = Pace(beat_seconds=3600, stale_seconds=60, poll_seconds=10, sleep=self.sleep)
        self.locks = Locks(self.database, self.clock, pace=pace)

    def sleep(self, seconds: float) -> None:
        self.slept += 1
        assert self.slept < 50, "waits for ever"
        self.clock.advance(seconds)
        self.on_sleep(self.slept)

    def hold(self, *, is_settled: Callable[[], bool] = lambda: False):
        return self.locks.hold(
            "k", is_settled=is_settled, on_wait=self.waited.append, on_takeover=self.taken_over.append
        )

    def plant(self, *, host: str, pid: int, process_start: str = "") -> None:
        with self.database.write() as connection:
            connection.execute(
                text("INSERT INTO locks VALUES ('k', 'theirs', :host, :pid, :start, 0, '2026')"),
                {"host": host, "pid": pid, "start": process_start},
            )

    def beat(self) -> None:
        with self.database.write() as connection:
            connection.execute(text("UPDATE locks SET beats = beats + 1"))


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_a_lock_is_free_again_after_it_was_held_and_after_an_error(scene: Scene) -> None:
    def fail_while_holding() -> None:
        with scene.hold() as lock:
            assert isinstance(lock, Lock)
            lock.check()
            raise RuntimeError

    for _ in range(2):
        with pytest.raises(RuntimeError):
            fail_while_holding()
        assert scene.locks.holders() == []
    assert scene.slept == 0


def test_the_second_one_waits_until_the_matter_is_settled_and_gets_no_lock(scene: Scene) -> None:
    with scene.hold() as first, scene.hold(is_settled=lambda: scene.slept >= 3) as second:
        assert first is not None
        assert second is None
    assert (scene.slept, len(scene.waited), scene.taken_over) == (3, 1, [])
    assert scene.waited[0].pid == os.getpid()


def test_the_second_one_gets_the_lock_when_the_first_gives_up(scene: Scene) -> None:
    with scene.hold() as first:
        assert first is not None
        scene.on_sleep = lambda number: first.release() if number == 2 else None
        with scene.hold() as second:
            assert second is not None
            second.check()


def test_an_owner_whose_process_is_gone_is_taken_over_without_waiting(scene: Scene) -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    scene.plant(host=name_host(), pid=child.pid)
    with scene.hold() as lock:
        assert lock is not None
    assert (scene.slept, [holder.owner for holder in scene.taken_over]) == (0, ["theirs"])


def test_a_number_that_another_process_got_later_is_not_the_owner(scene: Scene) -> None:
    scene.plant(host=name_host(), pid=os.getpid(), process_start="1")
    with scene.hold() as lock:
        assert lock is not None
    assert scene.slept == 0


def test_a_silent_owner_on_another_host_is_taken_over_after_its_time(scene: Scene) -> None:
    """60 seconds of silence at 10 a poll are six polls."""
    scene.plant(host="elsewhere", pid=1)
    with scene.hold() as lock:
        assert lock is not None
    assert scene.slept == 6
    assert [holder.host for holder in scene.taken_over] == ["elsewhere"]


def test_an_owner_on_another_host_that_beats_is_waited_for(scene: Scene) -> None:
    scene.plant(host="elsewhere", pid=1)
    scene.on_sleep = lambda number: scene.beat() if number % 5 == 0 else None
    with scene.hold(is_settled=lambda: scene.slept >= 40) as lock:
        assert lock is None
    assert scene.taken_over == []


def test_a_jump_of_the_wall_clock_makes_nobody_look_dead(scene: Scene) -> None:
    """Silence is counted on the waiter's monotonic clock only, so the dates in the row are never compared."""
    scene.plant(host="elsewhere", pid=1)
    with scene.database.write() as connection:
        connection.execute(text("UPDATE locks SET acquired = '1970-01-01T00:00:00+00:00'"))
    with scene.hold(is_settled=lambda: scene.slept >= 2) as lock:
        assert lock is None


def test_an_owner_that_was_taken_over_is_told(scene: Scene) -> None:
    with scene.hold() as lock:
        assert lock is not None
        with scene.database.write() as connection:
            connection.execute(text("UPDATE locks SET owner = 'rival'"))
        with pytest.raises(StoreError) as caught:
            lock.check()
        assert caught.value.problems[0].code == "E-STO-008"
        assert caught.value.problems[0].fix
    assert [holder.owner for holder in scene.locks.holders()] == ["rival"], "releasing must not free the rival's lock"


def test_a_lock_beats_while_it_is_held(scene: Scene) -> None:
    with scene.hold() as held:
        assert held is not None
        beating = Lock(scene.database, "k", scene.locks.holders()[0].owner, beat_seconds=0.001)
        while scene.locks.holders()[0].beats < 2:
            pass
        beating.release()


def test_a_zombie_does_not_live(tmp_path: Path) -> None:
    assert is_same_process(os.getpid(), find_process_start(os.getpid()) or "")
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    if Path("/proc/self/stat").exists():
        assert find_process_start(child.pid) is None
    child.wait()
    assert find_process_start(child.pid) is None
