"""A real Prometheus scrapes a server that runs as a process, and its query API gives our numbers back.

Debian's package ``prometheus``; without it the test is skipped and says so.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from luthier.stages.monitor.dashboards import RULES_NAME, make_dashboards
from tests.fixtures.stub_server import run_stub_server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="no prometheus here: apt-get install prometheus"),
]

CONFIG = """\
global: {{scrape_interval: 250ms, scrape_timeout: 250ms}}
scrape_configs:
  - job_name: luthier
    static_configs: [{{targets: ["{target}"]}}]
"""
PATIENCE = 240
PAUSE_SECONDS = 0.25


def call(url: str, body: dict[str, Any] | None = None) -> Any:
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url, data=data, headers={"content-type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310  loopback
        return json.loads(answer.read())


@contextlib.contextmanager
def run_prometheus(folder: Path, target: str) -> Iterator[str]:
    """Start it on a free port; end it whatever happens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    (folder / "prometheus.yml").write_text(CONFIG.format(target=target))
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'series'}",
        f"--web.listen-address={address}",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield f"http://{address}/api/v1/query?"
    finally:
        process.kill()
        process.wait()


def wait_for(api: str, query: str, value: float) -> None:
    """Ask until the query has the value."""
    found: Any = None
    for _ in range(PATIENCE):
        with contextlib.suppress(OSError):  # it does not listen yet
            found = call(api + urllib.parse.urlencode({"query": query}))["data"]["result"]
            if found and float(found[0]["value"][1]) == value:
                return
        threading.Event().wait(PAUSE_SECONDS)
    pytest.fail(f"{query} never was {value}: {found}")


def test_prometheus_counts_what_the_server_answered(tmp_path: Path) -> None:
    with run_stub_server(workspace=str(tmp_path)) as (url, _):
        target = urllib.parse.urlsplit(url).netloc
        with run_prometheus(tmp_path, target) as api:
            for words in ("one", "two words", "three more words"):
                asked = {"model": "echo", "messages": [{"role": "user", "content": words}]}
                answer = call(f"{url}/chat/completions", asked)
            given = call(f"{url}/feedback", {"response_id": answer["id"], "rating": "up"})

            assert given["state"] == "new"
            wait_for(api, 'up{job="luthier"}', 1)
            wait_for(api, 'sum(luthier_requests_total{model="echo",status="200",finish_reason="stop"})', 3)
            wait_for(api, 'sum(luthier_tokens_total{kind="prompt"})', 6)
            wait_for(api, "sum(luthier_request_seconds_count)", 3)
            wait_for(api, 'luthier_feedback_total{kind="rating"}', 1)
            wait_for(api, "luthier_telemetry_lost_total", 0)
        lines = [line for file in tmp_path.rglob("*.jsonl") for line in file.read_text().splitlines()]
        assert len(lines) == 3


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool here: apt-get install prometheus")
def test_the_names_of_our_metrics_pass_prometheus_own_linter(tmp_path: Path) -> None:
    with run_stub_server(workspace=str(tmp_path)) as (url, _):
        call(f"{url}/chat/completions", {"model": "echo", "messages": [{"role": "user", "content": "one"}]})
        address = url.removesuffix("/v1") + "/metrics"
        with urllib.request.urlopen(address, timeout=30) as answer:  # noqa: S310  loopback
            text = answer.read()
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool here: apt-get install prometheus")
def test_the_rules_that_stage_7_writes_are_rules_to_prometheus(tmp_path: Path) -> None:
    path = tmp_path / RULES_NAME
    path.write_text(make_dashboards('desk "of" ours')[RULES_NAME])
    done = subprocess.run(["promtool", "check", "rules", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 rules found" in done.stdout
