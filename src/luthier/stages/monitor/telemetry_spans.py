"""One OpenTelemetry span a request, by the GenAI conventions; needs the extra ``otel``.

Only this file imports OpenTelemetry, so whoever wants spans imports it late and tells a missing extra.
"""

from __future__ import annotations

import json
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from luthier import __version__
from luthier.foundation.schema.rows import Message
from luthier.foundation.schema.telemetry import RequestContent, RequestFacts
from luthier.stages.monitor.redaction import Redactor

PROVIDER: Final = "luthier"
OPERATION: Final = "chat"
NANOSECONDS: Final = 1_000_000_000
FIRST_ERROR_STATUS: Final = 400


class SpanWriter:
    """Writes spans after the fact, with the times that the server measured.

    Args:
        processor: Where spans go; tests bring one that keeps them.
        service: What the traces' resource is called.

    Source:
        OpenTelemetry semantic conventions for generative AI (status: development), as of 2026-11: span
        ``{operation} {model}`` of kind INTERNAL, since the model runs in this process. What has no convention, the
        release, is ``luthier.release``.
    """

    def __init__(self, processor: SpanProcessor, *, service: str = PROVIDER) -> None:
        """Make a provider of our own; the process's global one stays as it is."""
        resource = Resource.create({SERVICE_NAME: service, SERVICE_VERSION: __version__})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("luthier", __version__)

    def write(self, facts: RequestFacts) -> None:
        """Write the span of one request that is over, in its caller's trace where there is one.

        A caller that does not sample its trace gets no span: the SDK's default sampler follows the parent.
        """
        parent = TraceContextTextMapPropagator().extract({"traceparent": facts.trace_parent})
        start = int(facts.time * NANOSECONDS)
        span = self._tracer.start_span(
            f"{OPERATION} {facts.model}",
            context=parent,
            kind=SpanKind.INTERNAL,
            attributes=describe_span(facts),
            start_time=start,
        )
        if facts.status >= FIRST_ERROR_STATUS:
            span.set_status(Status(StatusCode.ERROR, facts.code or None))
        span.end(end_time=start + int(facts.seconds * NANOSECONDS))

    def close(self) -> None:
        """Send what waits and stop."""
        self._provider.shutdown()


def make_exporting_writer(*, service: str = PROVIDER) -> SpanWriter:
    """Return a writer that sends spans by OTLP over HTTP, configured by the standard ``OTEL_*`` variables."""
    return SpanWriter(BatchSpanProcessor(OTLPSpanExporter()), service=service)


def describe_span(facts: RequestFacts) -> dict[str, Any]:
    """Return a request's attributes; content only where the server keeps it, and redacted."""
    found: dict[str, Any] = {
        "gen_ai.operation.name": OPERATION,
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.request.model": facts.model,
        "gen_ai.request.stream": facts.is_streaming,
        "gen_ai.response.model": facts.model if facts.response_id else None,
        "gen_ai.response.id": facts.response_id or None,
        "gen_ai.response.finish_reasons": [facts.finish_reason] if facts.finish_reason else None,
        "gen_ai.response.time_to_first_chunk": facts.first_token_seconds,
        "gen_ai.usage.input_tokens": facts.prompt_tokens if facts.response_id else None,
        "gen_ai.usage.output_tokens": facts.completion_tokens if facts.response_id else None,
        "gen_ai.request.choice.count": facts.num_answers if facts.num_answers > 1 else None,
        "error.type": facts.code or (str(facts.status) if facts.status >= FIRST_ERROR_STATUS else None),
        "http.response.status_code": facts.status,
        "luthier.release": facts.release or None,
        "luthier.request.id": facts.request_id,
    }
    if facts.content is not None:
        found |= _describe_content(facts.content, facts.finish_reason)
    return {name: value for name, value in found.items() if value is not None}


def _describe_content(content: RequestContent, finish_reason: str | None) -> dict[str, str]:
    redactor = Redactor()
    asked = [_describe_message(message, redactor) for message in content.messages]
    answered = [
        {
            "role": "assistant",
            "parts": [{"type": "text", "content": redactor.redact(answer)}],
            "finish_reason": finish_reason or "error",
        }
        for answer in content.answers
    ]
    return {
        "gen_ai.input.messages": json.dumps(asked, ensure_ascii=False),
        "gen_ai.output.messages": json.dumps(answered, ensure_ascii=False),
    }


def _describe_message(message: Message, redactor: Redactor) -> dict[str, Any]:
    """Return a message as the conventions' JSON schema has it: a role with parts."""
    redacted = redactor.redact_message(message)
    if message.role == "tool":
        response = {"type": "tool_call_response", "id": message.tool_call_id or "", "response": redacted["content"]}
        return {"role": "tool", "parts": [response]}
    parts: list[dict[str, Any]] = []
    if message.text:
        parts.append({"type": "text", "content": redactor.redact(message.text)})
    for call in redacted.get("tool_calls", ()):
        function = call["function"]
        parts.append(
            {
                "type": "tool_call",
                "id": call.get("id", ""),
                "name": function["name"],
                "arguments": _parse(function["arguments"]),
            }
        )
    return {"role": message.role, "parts": parts}


def _parse(arguments: str) -> Any:  # noqa: ANN401  any JSON value
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments
