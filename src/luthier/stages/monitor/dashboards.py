"""Dashboard and alert rules by the metrics that the server and ``monitor drift --metrics`` write; files, no service."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import yaml

from luthier.foundation.core.hashing import sha256_bytes

DASHBOARD_NAME: Final = "grafana.json"
RULES_NAME: Final = "prometheus_rules.yaml"
UID_DIGITS: Final = 12
GRID_WIDTH: Final = 12
GRID_HEIGHT: Final = 8
ERROR_SHARE: Final = 0.05
SLOW_SECONDS: Final = 10


def make_dashboards(model: str) -> dict[str, str]:
    """Return the files by name.

    Args:
        model: Name under which the release is served.

    Source:
        Grafana's dashboard JSON model, schema version 39, imported through its user interface or provisioning;
        Prometheus' alerting rules. Thresholds of the rules are starting points: 5 % of requests failing, one in
        twenty slower than ten seconds.
    """
    chosen = f"model={json.dumps(model)}"
    return {
        DASHBOARD_NAME: json.dumps(_make_dashboard(model, chosen), indent=1) + "\n",
        RULES_NAME: yaml.safe_dump(_make_rules(chosen), sort_keys=False, width=120),
    }


def _make_dashboard(model: str, chosen: str) -> dict[str, Any]:
    rate = f"{{{chosen}}}[$__rate_interval]"
    panels = (
        ("Requests by outcome", "reqps", [f"sum by (status, finish_reason) (rate(luthier_requests_total{rate}))"]),
        (
            "Seconds a request: median and 95th",
            "s",
            [_quantile(q, "luthier_request_seconds", rate) for q in (0.5, 0.95)],
        ),
        (
            "Seconds to the first token: median and 95th",
            "s",
            [_quantile(q, "luthier_first_token_seconds", rate) for q in (0.5, 0.95)],
        ),
        ("Tokens a second", "short", [f"sum by (kind) (rate(luthier_tokens_total{rate}))"]),
        ("Drift: statistic over threshold", "percentunit", [f"luthier_drift_statistic_ratio{{{chosen}}}"]),
        ("Drift alarms", "short", [f"luthier_drift_alarm{{{chosen}}}"]),
    )
    return {
        "uid": f"luthier-{sha256_bytes(model.encode())[:UID_DIGITS]}",
        "title": f"Luthier: {model}",
        "tags": ["luthier"],
        "schemaVersion": 39,
        "time": {"from": "now-24h", "to": "now"},
        "refresh": "1m",
        "templating": {"list": [{"name": "source", "label": "Source", "type": "datasource", "query": "prometheus"}]},
        "panels": [_make_panel(index, *panel) for index, panel in enumerate(panels)],
    }


def _quantile(share: float, metric: str, rate: str) -> str:
    return f"histogram_quantile({share}, sum by (le) (rate({metric}_bucket{rate})))"


def _make_panel(index: int, title: str, unit: str, queries: Sequence[str]) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "$source"}
    return {
        "id": index + 1,
        "title": title,
        "type": "timeseries",
        "datasource": source,
        "gridPos": {
            "h": GRID_HEIGHT,
            "w": GRID_WIDTH,
            "x": GRID_WIDTH * (index % 2),
            "y": GRID_HEIGHT * (index // 2),
        },
        "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + number), "datasource": source, "expr": query}
            for number, query in enumerate(queries)
        ],
    }


def _make_rules(chosen: str) -> dict[str, Any]:
    failing = f'sum(rate(luthier_requests_total{{{chosen},status=~"5.."}}[10m]))'
    rules = (
        (
            "LuthierRequestsFail",
            f"{failing} / sum(rate(luthier_requests_total{{{chosen}}}[10m])) > {ERROR_SHARE}",
            "10m",
            "More than one request in twenty fails.",
        ),
        (
            "LuthierRequestsSlow",
            f"{_quantile(0.95, 'luthier_request_seconds', f'{{{chosen}}}[10m]')} > {SLOW_SECONDS}",
            "10m",
            "One request in twenty takes more than ten seconds.",
        ),
        (
            "LuthierDrift",
            f"luthier_drift_alarm{{{chosen}}} == 1",
            "0m",
            "Traffic has moved away from the release's reference: see `luthier monitor drift`.",
        ),
    )
    return {
        "groups": [
            {
                "name": "luthier",
                "rules": [
                    {"alert": name, "expr": query, "for": wait, "annotations": {"summary": summary}}
                    for name, query, wait, summary in rules
                ],
            }
        ]
    }


def render_drift_metrics(model: str, signals: Iterable[Mapping[str, Any]]) -> str:
    """Write a verdict in Prometheus' text form; signals without a verdict are left out.

    Args:
        model: The label ``model``.
        signals: Signals as ``luthier monitor drift --json`` gives them.
    """
    judged = [signal for signal in signals if signal["statistic"] is not None]
    lines = [
        "# HELP luthier_drift_alarm 1 where traffic has moved away from the reference.",
        "# TYPE luthier_drift_alarm gauge",
    ]
    label = f"model={json.dumps(model)}"
    lines += [
        f'luthier_drift_alarm{{{label},signal="{one["signal"]}"}} {int(one["state"] == "drift")}' for one in judged
    ]
    lines += [
        "# HELP luthier_drift_statistic_ratio Greatest statistic over its threshold.",
        "# TYPE luthier_drift_statistic_ratio gauge",
    ]
    lines += [
        f'luthier_drift_statistic_ratio{{{label},signal="{one["signal"]}"}} {one["statistic"] / one["threshold"]:.6g}'
        for one in judged
    ]
    return "\n".join(lines) + "\n"
