"""Spans: OpenTelemetry's own names for what we say, and nothing private in them."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

pytest.importorskip("opentelemetry.sdk", reason="traces need the extra otel")

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as names
from opentelemetry.semconv.attributes import error_attributes, http_attributes
from opentelemetry.trace import SpanKind, StatusCode

from luthier.api.telemetry import Served, Watch
from luthier.foundation.core.errors import MissingExtra
from luthier.instruments.text.privacy import find_private
from luthier.stages.monitor.telemetry_spans import SpanWriter, describe_span
from tests.fixtures.requests_seen import RELEASE, SPRING, make_content, make_facts

SERVED = Served(lambda: {"desk": RELEASE}, lambda: 0, lambda: 0)


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


def write(exporter: InMemorySpanExporter, **changes: object):
    writer = SpanWriter(SimpleSpanProcessor(exporter))
    writer.write(make_facts(**changes))
    writer.close()
    (span,) = exporter.get_finished_spans()
    return span


def test_a_span_has_the_names_of_the_conventions_and_the_measured_times(exporter: InMemorySpanExporter) -> None:
    span = write(exporter, is_streaming=True)

    assert (span.name, span.kind, span.status.status_code) == ("chat desk", SpanKind.INTERNAL, StatusCode.UNSET)
    assert span.start_time == SPRING * 1e9
    assert span.end_time - span.start_time == 0.25e9
    assert span.attributes is not None
    assert dict(span.attributes) == {
        names.GEN_AI_OPERATION_NAME: names.GenAiOperationNameValues.CHAT.value,
        names.GEN_AI_PROVIDER_NAME: "luthier",
        names.GEN_AI_REQUEST_MODEL: "desk",
        names.GEN_AI_REQUEST_STREAM: True,
        names.GEN_AI_RESPONSE_MODEL: "desk",
        names.GEN_AI_RESPONSE_ID: "chatcmpl-0",
        names.GEN_AI_RESPONSE_FINISH_REASONS: ("stop",),
        names.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK: 0.05,
        names.GEN_AI_USAGE_INPUT_TOKENS: 12,
        names.GEN_AI_USAGE_OUTPUT_TOKENS: 3,
        http_attributes.HTTP_RESPONSE_STATUS_CODE: 200,
        "luthier.release": RELEASE,
        "luthier.request.id": "req-0",
    }
    assert span.resource.attributes["service.name"] == "luthier"


def test_a_span_stands_in_its_callers_trace(exporter: InMemorySpanExporter) -> None:
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    span = write(exporter, trace_parent=f"00-{trace}-{parent}-01")

    assert span.context.trace_id == int(trace, 16)
    assert span.parent is not None
    assert (span.parent.span_id, span.parent.is_remote) == (int(parent, 16), True)


def test_a_span_without_a_caller_is_a_root_and_a_caller_that_does_not_sample_gets_none(
    exporter: InMemorySpanExporter,
) -> None:
    writer = SpanWriter(SimpleSpanProcessor(exporter))
    writer.write(make_facts(0))
    writer.write(make_facts(1, trace_parent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"))
    writer.close()
    assert [span.parent for span in exporter.get_finished_spans()] == [None]


def test_a_refused_request_is_an_error_with_our_code(exporter: InMemorySpanExporter) -> None:
    span = write(exporter, status=429, code="E-SRV-003", response_id="", finish_reason=None)

    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "E-SRV-003")
    assert span.attributes[error_attributes.ERROR_TYPE] == "E-SRV-003"
    assert names.GEN_AI_USAGE_INPUT_TOKENS not in span.attributes


def test_content_is_there_only_where_it_is_kept_and_then_redacted() -> None:
    content_names = {names.GEN_AI_INPUT_MESSAGES, names.GEN_AI_OUTPUT_MESSAGES}
    assert not content_names & set(describe_span(make_facts()))

    found = describe_span(make_facts(content=make_content()))
    assert all(find_private(found[name]) == () for name in content_names)
    asked = json.loads(found[names.GEN_AI_INPUT_MESSAGES])
    assert [message["role"] for message in asked] == ["system", "user", "assistant", "tool", "user"]
    (call,) = asked[2]["parts"]
    assert call == {"type": "tool_call", "id": "c1", "name": "find", "arguments": {"mail": "<EMAIL_1>", "days": 3}}
    assert asked[3]["parts"][0]["type"] == "tool_call_response"
    (answer,) = json.loads(found[names.GEN_AI_OUTPUT_MESSAGES])
    assert answer["parts"] == [{"type": "text", "content": "I wrote to <EMAIL_2>."}]
    assert answer["finish_reason"] == "stop"


def test_without_an_endpoint_no_span_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        pytest.fail("nobody asked for traces")

    monkeypatch.setattr("luthier.stages.monitor.telemetry_spans.make_exporting_writer", refuse)
    Watch(SERVED, environment={})
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    Watch(SERVED, environment={**endpoint, "OTEL_SDK_DISABLED": "true"})
    Watch(SERVED, environment={**endpoint, "LUTHIER_TELEMETRY": "off"})


def test_a_collector_gets_the_span_by_otlp_over_http(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Collector) as collector:
        thread = threading.Thread(target=collector.handle_request)
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
        monkeypatch.setenv("OTEL_SERVICE_NAME", "desk-in-berlin")
        watch = Watch(SERVED)
        watch.on_request(make_facts())
        watch.close()
        thread.join()

    ((path, body),) = received
    assert path == "/v1/traces"
    (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
    named = {item.key: item.value.string_value for item in resource.resource.attributes}
    assert named["service.name"] == "desk-in-berlin"
    (span,) = resource.scope_spans[0].spans
    assert span.name == "chat desk"
    assert span.end_time_unix_nano - span.start_time_unix_nano == 250_000_000


def test_a_server_whose_traffic_is_none_keeps_its_metrics_and_writes_nothing(tmp_path: Path) -> None:
    watch = Watch(SERVED, workspace=tmp_path, environment={"LUTHIER_TELEMETRY": "off"})
    watch.on_request(make_facts())

    assert b'luthier_requests_total{finish_reason="stop",model="desk"' in watch.render_metrics()[0]
    assert watch.find_response("chatcmpl-0") is not None
    assert list(tmp_path.iterdir()) == []


def test_an_endpoint_without_the_extra_is_one_sentence_with_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "luthier.stages.monitor.telemetry_spans", None)
    with pytest.raises(MissingExtra) as caught:
        Watch(SERVED, environment={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"})
    problem = caught.value.problems[0]
    assert (problem.code, problem.origin) == ("E-ENV-001", "OTEL_EXPORTER_OTLP_ENDPOINT")
    assert "luthier[otel]" in problem.fix
