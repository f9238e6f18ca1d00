"""The caller's trace is read as W3C writes it; what cannot be read is as if it were not there. OpenTelemetry judges."""

from __future__ import annotations

import pytest

from luthier.server.tracing import read_trace_parent

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{PARENT}-01"
BAD = [
    *("", "00", GOOD.upper(), GOOD[:-1], f"{GOOD}-more", f"ff-{TRACE}-{PARENT}-01", f"0g-{TRACE}-{PARENT}-01"),
    *(f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE}-{PARENT}", GOOD.replace("-", "_")),
    *(f"01-{TRACE}-{PARENT}-01-{'x' * 500}", "00-\x1b[2J"),
]


@pytest.mark.parametrize("value", [GOOD, f" {GOOD} ", f"00-{TRACE}-{PARENT}-00", f"cc-{TRACE}-{PARENT}-01-later-parts"])
def test_a_callers_place_is_read(value: str) -> None:
    assert read_trace_parent([(b"host", b"h"), (b"Traceparent", value.encode())]) == value.strip()


@pytest.mark.parametrize("value", BAD)
def test_what_cannot_be_read_is_ignored(value: str) -> None:
    assert read_trace_parent([(b"traceparent", value.encode())]) == ""


def test_two_parents_are_none() -> None:
    assert read_trace_parent([(b"traceparent", GOOD.encode())] * 2) == ""
    assert read_trace_parent([]) == ""


@pytest.mark.parametrize("value", [GOOD, *BAD[:11]])
def test_opentelemetry_reads_the_same_parents(value: str) -> None:
    tracecontext = pytest.importorskip("opentelemetry.trace.propagation.tracecontext", reason="needs the extra otel")
    trace = pytest.importorskip("opentelemetry.trace")
    context = tracecontext.TraceContextTextMapPropagator().extract({"traceparent": value})
    is_read = trace.get_current_span(context).get_span_context().is_valid
    assert is_read == bool(read_trace_parent([(b"traceparent", value.encode())]))
