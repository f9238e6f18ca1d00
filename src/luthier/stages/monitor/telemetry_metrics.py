"""Counts and times of requests in Prometheus' form, with few labels whatever comes in."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from luthier import __version__
from luthier.foundation.schema.telemetry import UNKNOWN_MODEL, RequestFacts

REQUEST_BUCKETS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
FIRST_TOKEN_BUCKETS: Final = (
    0.001,
    0.005,
    0.01,
    0.02,
    0.04,
    0.06,
    0.08,
    0.1,
    0.25,
    0.5,
    0.75,
    1.0,
    2.5,
    5.0,
    7.5,
    10.0,
)
RELEASE_DIGITS: Final = 12
NO_REASON: Final = "none"


@dataclass(frozen=True, slots=True)
class ServerCounts:
    """What the server knows better than its requests tell.

    Attributes:
        releases: Gives the digest of what is served by name; only these names become labels.
        count_open: How many requests for an answer are under way, those that wait included.
        count_lost: How many requests left no trace because it could not be written.
    """

    releases: Callable[[], Mapping[str, str]]
    count_open: Callable[[], int] = lambda: 0
    count_lost: Callable[[], int] = lambda: 0


class RequestMetrics:
    """Counts requests; a registry of its own, so that two servers in one process do not mix.

    Labels are ``model`` (a served name or ``unknown``), ``release`` (12 digits), the HTTP status and the finish
    reason. Nothing that a client can choose freely becomes a label.

    Units:
        Seconds, tokens.

    Source:
        Bucket bounds: OpenTelemetry's GenAI conventions, ``gen_ai.server.request.duration`` and
        ``gen_ai.server.time_to_first_token``. Names: Prometheus' naming practices.
    """

    def __init__(self, counts: ServerCounts) -> None:
        """Register every metric at zero."""
        self._releases = counts.releases
        self.registry = CollectorRegistry()
        served = ("model", "release")
        registry = self.registry
        self._requests = Counter(
            "luthier_requests", "Requests for an answer.", (*served, "status", "finish_reason"), registry=registry
        )
        self._seconds = Histogram(
            "luthier_request_seconds",
            "From the request's last header to the answer's last byte.",
            served,
            buckets=REQUEST_BUCKETS,
            registry=registry,
        )
        self._first = Histogram(
            "luthier_first_token_seconds",
            "From the request's last header to the first piece of an answer.",
            served,
            buckets=FIRST_TOKEN_BUCKETS,
            registry=registry,
        )
        self._tokens = Counter("luthier_tokens", "Tokens read and written.", (*served, "kind"), registry=registry)
        self._feedback = Counter("luthier_feedback", "Feedback that was kept.", (*served, "kind"), registry=registry)
        build = Gauge("luthier_build_info", "What is running.", ("version", "python"), registry=registry)
        build.labels(__version__, platform.python_version()).set(1)
        registry.register(_ServerState(counts))

    def count_request(self, facts: RequestFacts) -> None:
        """Count one request that is over."""
        model, release = self._name_served(facts.model)
        self._requests.labels(model, release, str(facts.status), facts.finish_reason or NO_REASON).inc()
        self._seconds.labels(model, release).observe(facts.seconds)
        if facts.first_token_seconds is not None:
            self._first.labels(model, release).observe(facts.first_token_seconds)
        for kind, tokens in (("prompt", facts.prompt_tokens), ("completion", facts.completion_tokens)):
            if tokens:
                self._tokens.labels(model, release, kind).inc(tokens)

    def count_feedback(self, model: str, kind: str) -> None:
        """Count one piece of feedback of a kind that the house knows."""
        self._feedback.labels(*self._name_served(model), kind).inc()

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """Write all metrics out.

        Args:
            accept: The ``Accept`` header of who asks; OpenMetrics where it names that.

        Returns:
            The text and its content type.
        """
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def _name_served(self, model: str) -> tuple[str, str]:
        digest = self._releases().get(model)
        return (UNKNOWN_MODEL, "") if digest is None else (model, digest[:RELEASE_DIGITS])


class _ServerState(Collector):
    """Reads the server's own counts when somebody asks."""

    def __init__(self, counts: ServerCounts) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "luthier_queue_depth", "Requests under way, those that wait included.", value=self._counts.count_open()
        )
        yield CounterMetricFamily(
            "luthier_telemetry_lost",
            "Requests that left no line in the traffic log because it could not be written.",
            value=self._counts.count_lost(),
        )
