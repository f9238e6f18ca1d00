"""Real texts with known change points, read by the default base: sudden changes are found, quiet streams stay quiet."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luthier.api.generate import locate_base
from luthier.api.monitor import Watching, drift
from luthier.foundation.core.errors import LuthierError
from luthier.stages.model.catalogue import DEFAULT_BASE
from tests.fixtures.data_rows import SHARED_DATA

pytestmark = [pytest.mark.base, pytest.mark.parity]

FOLDER = SHARED_DATA / "drift"
REFERENCE_DAYS = 20
ASKED = {"sudden_mix", "none", "weekly_season"}

Streams = dict[str, tuple[dict[str, Any], list[dict[str, Any]]]]


def read(name: str) -> list[dict[str, Any]]:
    with gzip.open(FOLDER / name, "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


@pytest.fixture(scope="module")
def streams() -> Streams:
    if not (FOLDER / "dev_streams.jsonl.gz").is_file():
        pytest.skip(f"no streams with known change points at {FOLDER}")
    try:
        locate_base(DEFAULT_BASE)
    except LuthierError as error:
        pytest.skip(f"the default base is not here: {error}")
    labels = {label["stream"]: label for label in read("dev_labels.jsonl.gz") if label["kind"] in ASKED}
    lines = defaultdict(list)
    for line in read("dev_streams.jsonl.gz"):
        if line["stream"] in labels:
            lines[line["stream"]].append(line)
    return {name: (labels[name], rows) for name, rows in lines.items()}


def look(folder: Path, before: list[dict[str, Any]], after: list[dict[str, Any]]) -> dict[str, Any]:
    for name, lines in (("before", before), ("after", after)):
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return drift(folder / "after", workspace=folder, watching=Watching(reference=folder / "before"))


def test_sudden_changes_are_found_within_a_week_and_quiet_streams_raise_at_most_one_alarm(
    streams: Streams, tmp_path: Path
) -> None:
    false_alarms = 0
    for label, lines in streams.values():
        before = [line for line in lines if line["day"] < REFERENCE_DAYS]
        found = look(tmp_path, before, [line for line in lines if line["day"] >= REFERENCE_DAYS])
        if label["kind"] != "sudden_mix":
            false_alarms += found["verdict"] == "drift"
            continue
        topics = next(signal for signal in found["signals"] if signal["signal"] == "topics")
        first = date.fromisoformat(lines[0]["time"][:10])
        days = [(date.fromisoformat(topics[name]) - first).days for name in ("since", "found_on")]
        assert abs(days[0] - label["start_day"]) <= 2
        assert label["start_day"] <= days[1] <= label["start_day"] + 7
    assert false_alarms <= 1


def test_resamples_of_a_reference_raise_no_alarm(streams: Streams, tmp_path: Path) -> None:
    """Eight streams, sixty days drawn from each one's own first twenty: 0.08 alarms are promised at most."""
    alarms = 0
    for number, (_, lines) in enumerate(streams.values()):
        before = [line for line in lines if line["day"] < REFERENCE_DAYS]
        start = datetime.fromisoformat(before[-1]["time"])
        drawn = np.random.default_rng(number).integers(len(before), size=60 * 48)
        after = [
            {**before[index], "time": (start + timedelta(minutes=30 * place)).isoformat()}
            for place, index in enumerate(drawn)
        ]
        alarms += look(tmp_path, before, after)["verdict"] == "drift"
    assert alarms <= 1
