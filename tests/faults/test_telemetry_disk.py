"""A disk that is really full while telemetry writes: requests go on, lines are whole or lost, every loss is told."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from luthier.foundation.core.errors import StoreError
from luthier.foundation.schema.telemetry import RequestContent
from luthier.stages.monitor.telemetry import Telemetry
from luthier.stages.monitor.telemetry_log import TrafficLog
from luthier.stages.monitor.telemetry_metrics import RequestMetrics, ServerCounts
from tests.fixtures.requests_seen import RELEASE, make_facts

pytestmark = pytest.mark.fault
NUM_REQUESTS = 60


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount half a mebibyte, or skip where this process may not mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no right to mount a small disk here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_lines_are_whole_or_lost_and_the_log_goes_on_when_there_is_room_again(small_disk: Path) -> None:
    telemetry = Telemetry(RequestMetrics(ServerCounts(lambda: {"desk": RELEASE})), TrafficLog(small_disk))
    content = RequestContent(answers=("word " * 3_000,))  # 15 kB: thirty of them fill the disk
    lost = {}
    for number in range(NUM_REQUESTS):
        try:
            telemetry.on_request(make_facts(number, content=content))
        except StoreError as error:
            lost[f"chatcmpl-{number}"] = error.code
    assert 0 < len(lost) < NUM_REQUESTS
    assert set(lost.values()) == {"E-ENV-003"}
    assert telemetry.find_response(next(iter(lost))) is not None, "an answer whose line is lost can still be spoken of"

    (file,) = (small_disk / RELEASE).iterdir()
    kept = [json.loads(line)["id"] for line in file.read_text().splitlines()]
    assert sorted([*kept, *lost]) == sorted(f"chatcmpl-{number}" for number in range(NUM_REQUESTS))

    file.unlink()
    telemetry.on_request(make_facts(NUM_REQUESTS, content=content))
    assert [json.loads(line)["id"] for line in file.read_text().splitlines()] == [f"chatcmpl-{NUM_REQUESTS}"]
