"""What /metrics says, read back by Prometheus' own parser."""

from __future__ import annotations

import re
import string

import numpy as np
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from luthier.stages.monitor.dashboards import make_dashboards, render_drift_metrics
from luthier.stages.monitor.telemetry_metrics import RequestMetrics, ServerCounts
from tests.fixtures.requests_seen import RELEASE, make_facts

SERVED = {"desk": RELEASE, "desk-2": "cd34" * 16}


def open_metrics(**changes: object) -> RequestMetrics:
    return RequestMetrics(ServerCounts(lambda: SERVED, **changes))  # type: ignore[arg-type]


def read(metrics: RequestMetrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = metrics.render()[0].decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def pick(metrics: RequestMetrics, name: str, **labels: str) -> float:
    return sum(
        value for (found, given), value in read(metrics).items() if found == name and set(labels.items()) <= given
    )


def test_every_request_is_counted_once_by_model_release_status_and_reason() -> None:
    metrics = open_metrics()
    for number in range(5):
        metrics.count_request(make_facts(number))
    metrics.count_request(make_facts(model="desk-2", status=429, finish_reason=None, first_token_seconds=None))

    assert pick(metrics, "luthier_requests_total") == 6
    answered = {"model": "desk", "release": RELEASE[:12], "status": "200", "finish_reason": "stop"}
    assert pick(metrics, "luthier_requests_total", **answered) == 5
    assert pick(metrics, "luthier_requests_total", model="desk-2", status="429", finish_reason="none") == 1
    assert pick(metrics, "luthier_tokens_total", kind="prompt") == 6 * 12
    assert pick(metrics, "luthier_tokens_total", kind="completion", model="desk") == 5 * 3


def test_histograms_hold_the_sum_the_count_and_cumulative_buckets() -> None:
    metrics = open_metrics()
    seconds = [0.005, 0.03, 0.03, 1.0, 500.0]
    for number, taken in enumerate(seconds):
        metrics.count_request(make_facts(number, seconds=taken, first_token_seconds=None))

    assert pick(metrics, "luthier_request_seconds_count") == 5
    assert abs(pick(metrics, "luthier_request_seconds_sum") - sum(seconds)) < 1e-9
    for bound in ("0.01", "0.04", "1.28", "81.92", "+Inf"):
        expected = sum(taken <= float(bound) for taken in seconds)
        assert pick(metrics, "luthier_request_seconds_bucket", le=bound) == expected
    assert pick(metrics, "luthier_first_token_seconds_count") == 0, "what had no first token has no time of it"


def test_a_thousand_odd_model_names_add_one_series_not_a_thousand() -> None:
    metrics = open_metrics()
    metrics.count_request(make_facts())
    metrics.count_request(make_facts(model="unknown", release="", status=404))
    before = len(read(metrics))
    random = np.random.default_rng(0)
    alphabet = [*string.printable, "é", "\u202e", '"', "\\", "\n", "../", "\x00"]
    for number in range(1000):
        name = "".join(random.choice(alphabet, size=int(random.integers(1, 80))))
        metrics.count_request(make_facts(number, model=name, release=name, status=404))

    assert len(read(metrics)) == before
    assert pick(metrics, "luthier_requests_total", model="unknown", release="") == 1001
    models = {dict(labels).get("model") for _, labels in read(metrics)}
    assert models == {None, "desk", "unknown"}


def test_the_servers_own_counts_are_read_when_somebody_asks() -> None:
    lost = iter([0, 3])
    metrics = open_metrics(count_open=lambda: 7, count_lost=lambda: next(lost))

    assert pick(metrics, "luthier_telemetry_lost_total") == 0
    assert pick(metrics, "luthier_telemetry_lost_total") == 3


def test_who_asks_for_openmetrics_gets_it_and_it_parses() -> None:
    metrics = open_metrics(count_open=lambda: 7)
    metrics.count_request(make_facts())
    metrics.count_feedback("desk", "correction")
    text, content_type = metrics.render("application/openmetrics-text; version=1.0.0")

    assert content_type.startswith("application/openmetrics-text")
    found = {sample.name: sample.value for f in parse_openmetrics(text.decode()) for sample in f.samples}
    assert found["luthier_queue_depth"] == 7
    assert found["luthier_feedback_total"] == 1
    assert found["luthier_build_info"] == 1
    assert metrics.render()[1].startswith("text/plain")


def test_two_servers_in_one_process_do_not_share_counts() -> None:
    first, second = open_metrics(), open_metrics()
    first.count_request(make_facts())

    assert pick(second, "luthier_requests_total") == 0


def test_every_series_that_a_dashboard_or_a_rule_asks_for_is_there_with_its_labels() -> None:
    """Drift has its own text; all else must come from the server, under the labels that queries group by."""
    metrics = open_metrics()
    metrics.count_request(make_facts())
    found = read(metrics)
    emitted = {name: set() for name, _ in found}
    for name, labels in found:
        emitted[name] |= {key for key, _ in labels}
    pages = "\n".join(make_dashboards("desk").values())
    drift = render_drift_metrics("desk", [{"signal": "topics", "state": "none", "statistic": 1.0, "threshold": 2.0}])

    asked = set(re.findall(r"luthier_[a-z_]+", pages))
    assert {name for name in asked if name not in emitted and f"\n{name}{{" not in drift} == set()
    for labels, name in re.findall(r"sum by \(([a-z_, ]+)\) \(rate\((luthier_[a-z_]+)", pages):
        assert set(labels.split(", ")) <= emitted[name], name
