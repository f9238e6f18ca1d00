"""The one thread that owns the models: takes requests from a bounded queue, steps all answers, survives a failure.

Between two steps requests join and cancelled ones leave. A step that fails ends the requests that were under way with
an error; the worker goes on with empty batches. One that fails again before anything succeeded is given up.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from luthier.foundation.core.errors import ServeError
from luthier.foundation.core.log import get_logger
from luthier.instruments.engine.serving.answering import LiveAnswering
from luthier.instruments.engine.serving.live_batch import LiveBatch

LAST_STEP_SECONDS: Final = 60.0
"""How long a step that is being computed is waited for when the drain's time is over."""

_log = get_logger(__name__)


class Worker:
    """Answers requests, one thread for all models.

    Args:
        make_batches: Makes an empty batch for each loaded base; called again after a failure.
        max_waiting: Most requests that wait to be computed.
    """

    def __init__(self, make_batches: Callable[[], Sequence[LiveBatch]], *, max_waiting: int) -> None:
        self._make_batches = make_batches
        self._batches = list(make_batches())
        self._max_waiting = max_waiting
        self._waiting: list[deque[LiveAnswering]] = [deque() for _ in self._batches]
        self._changed = threading.Condition()
        self._is_closing = self._is_aborted = self._is_dead = self._has_failed = False
        self._thread = threading.Thread(target=self._run, name="luthier-worker", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def is_ready(self) -> bool:
        """Whether requests are taken and answered."""
        return self._thread.is_alive() and not (self._is_closing or self._is_dead)

    def check_open(self) -> None:
        """Refuse before any work is done for a request that could not be taken.

        Raises:
            ServeError: E-SRV-003 when the queue is full, E-SRV-004 when the server drains, E-SRV-006 when the worker
                is dead.
        """
        if self._is_closing:
            raise _draining()
        if self._is_dead:
            raise _failed("it failed twice in a row and is not started again")
        num_waiting = sum(map(len, self._waiting))
        if num_waiting >= self._max_waiting:
            raise ServeError(
                "E-SRV-003",
                "as many requests wait as may",
                got=f"{num_waiting} waiting requests",
                allowed=f"{self._max_waiting} waiting requests",
                fix="ask again in a moment, or serve with a larger --max-queue",
            )

    def submit(self, place: int, answering: LiveAnswering) -> None:
        """Queue a request for the base at a place.

        Raises:
            ServeError: As :meth:`check_open`.
        """
        with self._changed:
            self.check_open()
            self._waiting[place].append(answering)
            self._changed.notify_all()

    def cancel(self, answering: LiveAnswering) -> None:
        """Take a request out of the queue; one that is being computed leaves at the next step."""
        with self._changed:
            for waiting in self._waiting:
                if answering in waiting:
                    waiting.remove(answering)
                    answering.end_cancelled()

    def close(self, *, drain_seconds: float) -> None:
        """Take no more requests, finish those that are there within the time, stop. Safe to repeat."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(max(0.0, drain_seconds))
        self._is_aborted = True
        if self._thread.is_alive():
            self._thread.join(LAST_STEP_SECONDS)

    def _run(self) -> None:
        while self._wait_for_work():
            try:
                self._advance()
            except Exception as error:  # noqa: BLE001  the server's request boundary: whoever waits gets an error
                self._recover(error)
        self._fail_all(_draining())

    def _wait_for_work(self) -> bool:
        with self._changed:
            while not (self._has_work() or self._is_closing or self._is_dead):
                self._changed.wait()
            return self._has_work() and not (self._is_aborted or self._is_dead)

    def _has_work(self) -> bool:
        return any(self._waiting) or any(map(len, self._batches))

    def _advance(self) -> None:
        """Let requests leave and join, then compute one step of every base."""
        for batch, waiting in zip(self._batches, self._waiting, strict=True):
            batch.drop_cancelled()
            with self._changed:
                joining = batch.choose(waiting)
                for _ in joining:
                    waiting.popleft()
            if len(batch):
                batch.step()
                self._has_failed = False
            if joining:
                self._admit(batch, joining)

    def _admit(self, batch: LiveBatch, joining: Sequence[LiveAnswering]) -> None:
        try:
            batch.admit(joining)
        except BaseException as error:
            for answering in joining:  # they are in no list yet from which the boundary could find them
                answering.fail(_failed(error))
            raise

    def _recover(self, error: Exception) -> None:
        _log.error("the worker failed and begins anew: %s: %s", type(error).__name__, error)
        failure = _failed(error)
        for batch in self._batches:
            for answering in batch.list_answerings():
                answering.fail(failure)
        self._batches = list(self._make_batches())
        if self._has_failed:
            self._is_dead = True
            self._fail_all(failure)
        self._has_failed = True

    def _fail_all(self, error: ServeError) -> None:
        with self._changed:
            for batch in self._batches:
                for answering in batch.list_answerings():
                    answering.fail(error)
            for waiting in self._waiting:
                while waiting:
                    waiting.popleft().fail(error)


def _draining() -> ServeError:
    return ServeError(
        "E-SRV-004",
        "the server is stopping and takes no more requests",
        got="a request while it drains",
        allowed="requests before the stop",
        fix="ask another server, or this one when it runs again",
    )


def _failed(error: BaseException | str) -> ServeError:
    return ServeError(
        "E-SRV-006",
        "the worker that computes answers failed",
        got=error if isinstance(error, str) else f"{type(error).__name__}: {error}",
        allowed="a worker that computes",
        fix="ask again; where it goes on, start the server again and see its log",
    )
