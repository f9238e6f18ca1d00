"""One request's work in a thread of its own, heard piece by piece in the event loop.

Rendering, queueing and generating block; the event loop must not. As many threads run as requests are open, which the
number of connections bounds; being daemons, none of them can keep the process alive.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Final

from luthier.foundation.core.errors import LuthierError
from luthier.foundation.core.log import get_logger
from luthier.foundation.schema.serving import Answering, Delta
from luthier.server.failures import make_internal_error

LOG: Final = get_logger("server")
IDLE_SECONDS: Final = 10.0


class Crew:
    """Threads that are kept a while for the next request, since starting one takes longer than waking one."""

    def __init__(self) -> None:
        """Start with no thread."""
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._num_idle = 0

    def run(self, job: Callable[[], None]) -> None:
        """Have a thread do a job at once; the job must not raise."""
        with self._lock:
            is_one_idle = self._num_idle > 0
            self._num_idle -= is_one_idle
        self._jobs.put(job)
        if not is_one_idle:
            threading.Thread(target=self._work, name="luthier-request", daemon=True).start()

    def _work(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                with self._lock:
                    if self._num_idle == 0:  # counted on for a job that is just coming
                        continue
                    self._num_idle -= 1
                    return
            job()
            del job  # what it held must not live until the next
            with self._lock:
                self._num_idle += 1


class Course:
    """Runs ``begin`` and what it returns in a thread; iterate it in the event loop; cancel it from there."""

    def __init__(self, crew: Crew, begin: Callable[[], Answering], *, request_id: str) -> None:
        """Begin at once; must be called in the event loop."""
        self._begin = begin
        self._request_id = request_id
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._is_news_coming = False
        self._pieces: deque[Delta] = deque()
        self._answering: Answering | None = None
        self._error: LuthierError | None = None
        self._is_over = False
        self._is_cancelled = False
        crew.run(self._work)

    async def wait_begun(self) -> Answering:
        """Wait until the request is accepted.

        Raises:
            LuthierError: What the runtime refuses it with.
        """
        while self._answering is None and not self._is_over:
            await self._wait_news()
        if self._answering is None:
            raise self._error or make_internal_error()
        return self._answering

    async def __aiter__(self) -> AsyncIterator[Delta]:
        """Yield pieces as they come.

        Raises:
            LuthierError: What the runtime fails with.
        """
        while True:
            is_over = self._is_over  # asked before the pieces are taken: none comes after it is true
            while self._pieces:
                yield self._pieces.popleft()
            if is_over:
                break
            await self._wait_news()
        if self._error is not None:
            raise self._error

    def cancel(self) -> None:
        """Give the request up, accepted or not yet; safe to repeat."""
        self._is_cancelled = True
        if self._answering is not None:
            self._answering.cancel()

    async def _wait_news(self) -> None:
        await self._news.wait()
        self._news.clear()

    def _work(self) -> None:
        try:
            answering = self._begin()
            self._answering = answering
            if self._is_cancelled:  # between the two lines above; `cancel` may come twice, never not at all
                answering.cancel()
            self._wake()
            for delta in answering:
                self._pieces.append(delta)
                self._wake()
        except LuthierError as error:
            self._error = error
        except Exception:  # the request boundary: what nobody knows becomes a 500 and a line in the log
            LOG.exception("request %s met an unknown error", self._request_id)
            self._error = make_internal_error()
        self._is_over = True
        self._wake()

    def _wake(self) -> None:
        """Wake the event loop, once for all that happened before it wakes."""
        if not self._is_news_coming:
            self._is_news_coming = True
            with suppress(RuntimeError):  # the loop is closed: the server ended without waiting for this request
                self._loop.call_soon_threadsafe(self._tell_news)

    def _tell_news(self) -> None:
        self._is_news_coming = False
        self._news.set()
