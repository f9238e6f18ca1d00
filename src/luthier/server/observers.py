"""Who looks on: told of every request for an answer once it is over, and never able to fail it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from starlette.routing import BaseRoute

from luthier.foundation.core.log import get_logger
from luthier.foundation.schema.serving import ChatRuntime
from luthier.foundation.schema.telemetry import RequestFacts

LOG: Final = get_logger("server")
MAX_WAITING: Final = 10_000
"""Facts that may wait for slow observers; one more is lost, and counted."""


class Observer(Protocol):
    """Something that keeps count. Called in a thread, one request at a time, after the answer went out."""

    def on_request(self, facts: RequestFacts) -> None:
        """Take note of one request.

        Raises:
            OSError: Where it cannot be written; the request is not touched, the loss is counted.
        """
        ...


@dataclass(frozen=True, slots=True)
class Hosting:
    """What an extension may build on.

    Attributes:
        workspace: The folder that holds ``.luthier``; None where the server runs without one.
        keep_content: Whether requests' facts carry what was said.
        count_lost: Returns how many facts observers could not write.
        count_open: Returns how many requests for an answer are under way, those that wait included.
        settle: Waits until the facts of all answered requests were told; a route that looks up a response that was
            just given waits for it first.
    """

    runtime: ChatRuntime
    workspace: Path | None
    keep_content: bool
    count_lost: Callable[[], int]
    count_open: Callable[[], int]
    settle: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Extension:
    """Routes and observers that one part of the house adds to the server.

    ``open_paths`` are answered without a key, as ``/healthz`` is.
    """

    routes: Sequence[BaseRoute] = ()
    observers: Sequence[Observer] = ()
    open_paths: frozenset[str] = frozenset()
    close: Callable[[], None] = lambda: None


ExtensionMaker = Callable[[Hosting], Extension]


class ObserverBoard:
    """Tells every observer in one thread, so that none can hold up an answer; counts what was lost."""

    def __init__(self) -> None:
        """Start with nobody looking on."""
        self.observers: list[Observer] = []
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="luthier-observers")
        self._num_waiting = 0
        self._num_lost = 0

    def count_lost(self) -> int:
        """Return how many facts were lost so far."""
        return self._num_lost

    def post(self, facts: RequestFacts) -> None:
        """Have the observers told; called in the event loop, returns at once."""
        if not self.observers:
            return
        if self._num_waiting >= MAX_WAITING:
            self._lose("observers are slower than requests")
            return
        self._num_waiting += 1
        self._thread.submit(self._tell, facts).add_done_callback(self._settle_one)

    async def settle(self) -> None:
        """Wait until all facts posted so far were told."""
        await asyncio.wrap_future(self._thread.submit(lambda: None))

    def close(self) -> None:
        """Tell what still waits, then stop."""
        self._thread.shutdown(wait=True)

    def _tell(self, facts: RequestFacts) -> None:
        for observer in self.observers:
            try:
                observer.on_request(facts)
            except OSError as error:
                self._lose(str(error))

    def _settle_one(self, told: Future[None]) -> None:
        self._num_waiting -= 1
        if error := told.exception():
            LOG.error("an observer is broken", exc_info=error)
            self._lose(type(error).__name__)

    def _lose(self, cause: str) -> None:
        self._num_lost += 1
        if self._num_lost & (self._num_lost - 1) == 0:  # the first, second, fourth … : said, but no flood
            LOG.warning("%d requests left no trace so far; the newest cause: %s", self._num_lost, cause)
