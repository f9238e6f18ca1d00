"""Who looks on: told of every request for an answer once it is over, and never able to fail it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from starlette.routing import BaseRoute

from luthier.foundation.core.log import get_logger
from luthier.foundation.schema.serving import ChatRuntime
from luthier.foundation.schema.telemetry import RequestFacts

LOG = get_logger("server")


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
    """

    runtime: ChatRuntime
    workspace: Path | None
    keep_content: bool
    count_lost: Callable[[], int]
    count_open: Callable[[], int]


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
    """Tells every observer, counts what they lost."""

    def __init__(self) -> None:
        """Start with nobody looking on."""
        self.observers: list[Observer] = []
        self._lost = 0

    def count_lost(self) -> int:
        """Return how many facts were lost so far."""
        return self._lost

    def tell(self, facts: RequestFacts) -> None:
        """Hand the facts to each observer; one that cannot write loses this request, says so once, and goes on."""
        for observer in self.observers:
            try:
                observer.on_request(facts)
            except OSError as error:
                self._lost += 1
                if self._lost & (self._lost - 1) == 0:
                    LOG.warning("%d requests left no trace so far; the newest cause: %s", self._lost, error)
