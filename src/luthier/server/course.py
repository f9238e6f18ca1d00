"""One request's work in a thread of its own, heard piece by piece in the event loop.

Rendering, queueing and generating block; the event loop must not. A thread for each open request is bounded by the
number of connections, and being a daemon none of them can keep the process alive.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Final

from luthier.foundation.core.errors import LuthierError
from luthier.foundation.core.log import get_logger
from luthier.foundation.schema.serving import Answering, Delta
from luthier.server.failures import make_internal_error

LOG: Final = get_logger("server")


class Course:
    """Runs ``begin`` and what it returns in a thread; iterate it in the event loop; cancel it from there."""

    def __init__(self, begin: Callable[[], Answering], *, request_id: str) -> None:
        """Start the thread; must be called in the event loop."""
        self._loop = asyncio.get_running_loop()
        self._pieces: asyncio.Queue[Delta | None] = asyncio.Queue()
        self._begun: asyncio.Future[Answering] = self._loop.create_future()
        self._error: LuthierError | None = None
        self._request_id = request_id
        self._begin = begin
        self._answering: Answering | None = None
        self._is_cancelled = False
        threading.Thread(target=self._work, name="luthier-request", daemon=True).start()

    async def wait_begun(self) -> Answering:
        """Wait until the request is accepted.

        Raises:
            LuthierError: What the runtime refuses it with.
        """
        return await self._begun

    async def __aiter__(self) -> AsyncIterator[Delta]:
        """Yield pieces as they come.

        Raises:
            LuthierError: What the runtime fails with.
        """
        while (piece := await self._pieces.get()) is not None:
            yield piece
        if self._error is not None:
            raise self._error

    def cancel(self) -> None:
        """Give the request up, accepted or not yet; safe to repeat."""
        self._is_cancelled = True
        if self._answering is not None:
            self._answering.cancel()

    def _work(self) -> None:
        try:
            answering = self._begin()
            self._answering = answering
            if self._is_cancelled:  # between the two lines above; `cancel` may come twice, never not at all
                answering.cancel()
            self._post(self._set_begun, answering)
            for delta in answering:
                self._post(self._pieces.put_nowait, delta)
        except LuthierError as error:
            self._error = error
        except Exception:  # the request boundary: what nobody knows becomes a 500 and a line in the log
            LOG.exception("request %s met an unknown error", self._request_id)
            self._error = make_internal_error()
        self._post(self._end)

    def _set_begun(self, answering: Answering) -> None:
        if not self._begun.done():
            self._begun.set_result(answering)

    def _end(self) -> None:
        if not self._begun.done():
            self._begun.set_exception(self._error or make_internal_error())
            self._begun.exception()  # seen: nobody may be waiting any more
        self._pieces.put_nowait(None)

    def _post(self, call: Callable[..., object], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: the server ended without waiting for this request
            self._loop.call_soon_threadsafe(call, *arguments)
