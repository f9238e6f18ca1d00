"""What every request leaves behind: counts, a line in the traffic log, a span; and which responses are known."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final, Protocol

from luthier.foundation.schema.telemetry import KnownResponse, RequestFacts
from luthier.stages.monitor.telemetry_log import TrafficLog, read_response
from luthier.stages.monitor.telemetry_metrics import RequestMetrics

MAX_RECENT: Final = 10_000


class SpanSink(Protocol):
    """Where spans go; see ``telemetry_spans``."""

    def write(self, facts: RequestFacts) -> None:
        """Write the span of one request that is over."""
        ...

    def close(self) -> None:
        """Send what waits."""
        ...


class Telemetry:
    """Takes note of requests. Content is handled only where the server keeps it, and never unredacted.

    Args:
        metrics: Counts and times.
        log: The traffic log; None where the server has no workspace.
        spans: Traces; None where nobody collects them.
    """

    def __init__(self, metrics: RequestMetrics, log: TrafficLog | None = None, spans: SpanSink | None = None) -> None:
        """Start with no response known but those of the log."""
        self.metrics = metrics
        self._log = log
        self._spans = spans
        self._recent: OrderedDict[str, KnownResponse] = OrderedDict()
        self._lock = threading.Lock()

    def on_request(self, facts: RequestFacts) -> None:
        """Count a request, remember its response, write its span and its line.

        Raises:
            OSError: When the line could not be written; all else is done.
        """
        self.metrics.count_request(facts)
        self._remember(facts)
        if self._spans is not None:
            self._spans.write(facts)
        if self._log is not None:
            self._log.write(facts)

    def find_response(self, response_id: str) -> KnownResponse | None:
        """Return what is known of a response: of a recent one its release, with kept content what was said.

        Args:
            response_id: The ``id`` of a completion.
        """
        with self._lock:
            recent = self._recent.get(response_id)
        if self._log is None or (recent is not None and not recent.has_content):
            return recent
        line = self._log.find(response_id)
        return read_response(line) if line is not None else recent

    def close(self) -> None:
        """Send what waits."""
        if self._spans is not None:
            self._spans.close()

    def _remember(self, facts: RequestFacts) -> None:
        if not facts.response_id:
            return
        with self._lock:
            self._recent[facts.response_id] = KnownResponse(
                response_id=facts.response_id,
                model=facts.model,
                release=facts.release,
                has_content=facts.content is not None,
            )
            while len(self._recent) > MAX_RECENT:
                self._recent.popitem(last=False)
