"""A request's thread and the event loop: every piece arrives once and in order, cancelling reaches it at any moment."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from luthier.foundation.core.errors import LuthierError, ServeError
from luthier.foundation.schema.serving import Answering, Delta
from luthier.server import course as course_module
from luthier.server.course import Course, Crew

NUM_PIECES = 2_000


class Scripted:
    """An answer of numbered pieces that ends when it is cancelled, or fails at its end."""

    prompt_token_ids = (1, 2)

    def __init__(self, num_pieces: int = NUM_PIECES, error: Exception | None = None) -> None:
        self.num_pieces = num_pieces
        self.error = error
        self.is_cancelled = threading.Event()

    def cancel(self) -> None:
        self.is_cancelled.set()

    def __iter__(self) -> Iterator[Delta]:
        for number in range(self.num_pieces):
            if self.is_cancelled.is_set():
                return
            yield Delta(index=0, token_ids=(number,))
        if self.error:
            raise self.error


async def collect(course: Course) -> list[int]:
    await course.wait_begun()
    return [token async for delta in course for token in delta.token_ids]


def test_every_piece_arrives_once_and_in_order() -> None:
    async def run() -> list[list[int]]:
        crew = Crew()
        return await asyncio.gather(*(collect(Course(crew, Scripted, request_id="r")) for _ in range(8)))

    assert asyncio.run(run()) == [list(range(NUM_PIECES))] * 8


def test_threads_are_used_again() -> None:
    seen: set[int] = set()

    def begin() -> Answering:
        seen.add(threading.get_ident())
        return Scripted(1)

    async def run() -> None:
        crew = Crew()
        for _ in range(20):
            await collect(Course(crew, begin, request_id="r"))

    asyncio.run(run())
    assert len(seen) < 20


def test_threads_that_wait_in_vain_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(course_module, "IDLE_SECONDS", 0.01)
    crew = Crew()
    threads: list[threading.Thread] = []
    crew.run(lambda: threads.append(threading.current_thread()))
    while not threads:
        threading.Event().wait(0.001)
    threads[0].join(30)

    assert not threads[0].is_alive()
    is_done = threading.Event()
    crew.run(is_done.set)
    assert is_done.wait(30)


def run_and_wait(crew: Crew) -> None:
    """Have a job done, and wait until its thread is idle again."""
    crew.run(lambda: None)
    while not crew._num_idle:
        threading.Event().wait(0.001)


def test_a_job_never_waits_behind_another_that_waits_for_it() -> None:
    crew = Crew()
    run_and_wait(crew)
    is_second_running, is_first_done = threading.Event(), threading.Event()

    def first() -> None:
        if is_second_running.wait(30):
            is_first_done.set()

    crew.run(first)
    crew.run(is_second_running.set)
    assert is_first_done.wait(30)


def test_a_thread_that_is_counted_on_does_not_leave_before_the_job_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the two steps of `run`: one idle thread is reserved, its job is not there yet, its time is up."""
    done: list[str] = []
    moments: Iterator[object] = iter([queue.Empty(), lambda: done.append("job"), queue.Empty()])

    def get(*, timeout: float) -> object:
        moment = next(moments)
        if isinstance(moment, Exception):
            raise moment
        return moment

    crew = Crew()
    monkeypatch.setattr(crew, "_jobs", SimpleNamespace(get=get))
    crew._work()  # reserved: stays; does the job; idle: leaves

    assert (done, crew._num_idle) == (["job"], 0)


def test_a_failure_comes_after_all_pieces() -> None:
    broken = Scripted(3, ServeError("E-SRV-006", "the worker died", fix="ask again"))

    async def run() -> list[int]:
        seen: list[int] = []

        async def read() -> None:
            async for delta in Course(Crew(), lambda: broken, request_id="r"):
                seen.extend(delta.token_ids)

        with pytest.raises(LuthierError, match="the worker died"):
            await read()
        return seen

    assert asyncio.run(run()) == [0, 1, 2]


def test_a_refusal_and_an_unknown_error_are_raised_at_the_beginning() -> None:
    def refuse() -> Answering:
        raise ServeError("E-SRV-003", "the queue is full", fix="ask again")

    def fail() -> Answering:
        message = "inside"
        raise RuntimeError(message)

    async def begin(begin: object) -> str:
        course = Course(Crew(), begin, request_id="r")  # type: ignore[arg-type]
        with pytest.raises(LuthierError) as caught:
            await course.wait_begun()
        return caught.value.code

    assert asyncio.run(begin(refuse)) == "E-SRV-003"
    assert asyncio.run(begin(fail)) == "E-SRV-032"


@pytest.mark.parametrize("is_begun", [True, False])
def test_cancelling_reaches_a_request_before_and_after_it_is_accepted(*, is_begun: bool) -> None:
    may_begin = threading.Event()
    answering = Scripted(10**9)

    def begin() -> Answering:
        assert may_begin.wait(30)
        return answering

    async def run() -> None:
        course = Course(Crew(), begin, request_id="r")
        if is_begun:
            may_begin.set()
            await course.wait_begun()
        course.cancel()
        may_begin.set()
        await collect(course)

    asyncio.run(run())
    assert answering.is_cancelled.is_set()


def test_a_loop_that_is_gone_ends_the_thread_quietly() -> None:
    """An error in a thread fails a test by itself; the thread is waited for, so that it has its chance."""
    may_begin = threading.Event()
    threads: list[threading.Thread] = []

    def begin() -> Answering:
        assert may_begin.wait(30)
        return Scripted(3)

    async def run() -> None:
        course = Course(OneThread(threads), begin, request_id="r")
        course.cancel()

    asyncio.run(run())
    may_begin.set()
    threads[0].join(30)
    assert not threads[0].is_alive()


class OneThread(Crew):
    """A crew whose thread ends with its job."""

    def __init__(self, threads: list[threading.Thread]) -> None:
        super().__init__()
        self._threads = threads

    def run(self, job: Callable[[], None]) -> None:
        self._threads.append(threading.Thread(target=job))
        self._threads[-1].start()
