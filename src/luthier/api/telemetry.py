"""What a server's requests leave behind: open it, hand it every request, ask it for the metrics."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from luthier.foundation.core.errors import MissingExtra
from luthier.foundation.core.files import REAL, FileSystem
from luthier.foundation.schema.telemetry import KnownResponse, RequestFacts

if TYPE_CHECKING:
    from luthier.stages.monitor.telemetry import SpanSink
    from luthier.stages.monitor.telemetry_metrics import ServerCounts

FOLDER: Final = "telemetry"
SWITCH: Final = "LUTHIER_TELEMETRY"
ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


@dataclass(frozen=True, slots=True)
class Served:
    """What a server tells of itself while it runs.

    Attributes:
        releases: Gives the digest of what is served by name.
        count_open: How many requests for an answer are under way.
        count_lost: How many requests left no line in the traffic log.
    """

    releases: Callable[[], Mapping[str, str]]
    count_open: Callable[[], int]
    count_lost: Callable[[], int]


class Watch:
    """Telemetry of one server; an observer of its requests."""

    def __init__(
        self,
        served: Served,
        *,
        workspace: Path | None = None,
        environment: Mapping[str, str] | None = None,
        fs: FileSystem = REAL,
    ) -> None:
        """Open it; nothing is written before the first request.

        Args:
            served: What the server tells of itself.
            workspace: The folder that holds ``.luthier``; without one there is no traffic log.
            environment: The ``OTEL_*`` variables, and ``LUTHIER_TELEMETRY=off`` for metrics alone; the process's own
                by default.
            fs: File system that the traffic log is written through.

        Raises:
            MissingExtra: E-ENV-001 where an endpoint for traces is set and the extra ``otel`` is not there.
        """
        from luthier.foundation.store.workspace import FOLDER_NAME
        from luthier.stages.monitor.telemetry import Telemetry
        from luthier.stages.monitor.telemetry_log import TrafficLog
        from luthier.stages.monitor.telemetry_metrics import RequestMetrics

        variables = os.environ if environment is None else environment
        is_on = variables.get(SWITCH, "").lower() != "off"
        log = TrafficLog(workspace / FOLDER_NAME / FOLDER, fs=fs) if is_on and workspace is not None else None
        spans = _open_spans(variables) if is_on else None
        self._telemetry = Telemetry(RequestMetrics(_to_counts(served)), log, spans)

    def on_request(self, facts: RequestFacts) -> None:
        """Take note of one request that is over.

        Raises:
            OSError: Where its line could not be written; all else is done.
        """
        self._telemetry.on_request(facts)

    def find_response(self, response_id: str) -> KnownResponse | None:
        """Return what is known of a response that feedback names."""
        return self._telemetry.find_response(response_id)

    def count_feedback(self, model: str, kind: str) -> None:
        """Count one piece of feedback that was kept."""
        self._telemetry.metrics.count_feedback(model, kind)

    def render_metrics(self, accept: str = "") -> tuple[bytes, str]:
        """Return all metrics and their content type.

        Args:
            accept: The ``Accept`` header of who asks.
        """
        return self._telemetry.metrics.render(accept)

    def close(self) -> None:
        """Send the spans that wait."""
        self._telemetry.close()


def _to_counts(served: Served) -> ServerCounts:
    from luthier.stages.monitor.telemetry_metrics import ServerCounts

    return ServerCounts(served.releases, served.count_open, served.count_lost)


def _open_spans(environment: Mapping[str, str]) -> SpanSink | None:
    """Return where spans go: nowhere, unless an endpoint is named by the standard variables."""
    is_off = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if is_off or not any(environment.get(name) for name in ENDPOINTS):
        return None
    try:
        from luthier.stages.monitor.telemetry_spans import make_exporting_writer
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "E-ENV-001",
            "traces need OpenTelemetry, which is not installed",
            got=f"no package {error.name}",
            origin=next(name for name in ENDPOINTS if environment.get(name)),
            fix="pip install 'luthier[otel]'",
        ) from error
    return make_exporting_writer(service=environment.get("OTEL_SERVICE_NAME", "luthier"))
