"""Does drift raise an alarm, and does no drift stay quiet? Streams with known change points, and resamples of none.

Run by ``make bench AREA=monitor``; needs ``shared/data/drift`` and the default base. Twenty streams of 80 days, 50
requests a day; days 0 to 19 are the reference, days 20 to 79 the traffic. Each is watched as ``luthier monitor drift``
does it, at a false alarm rate of 0.01. Resamples draw 60 days of traffic with replacement from a reference itself:
from all of its rows, and from those of the same weekday. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import sys
import time
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from record import REPOSITORY, write_results  # found by the line above

from luthier.instruments.text.static_embeddings import StaticEmbeddings, open_embeddings
from luthier.stages.model.cache import find_cache, open_cached
from luthier.stages.monitor.reference import Reference, build_reference
from luthier.stages.monitor.signals import observe
from luthier.stages.monitor.traffic import TrafficRow
from luthier.stages.monitor.watch import SignalVerdict, watch

RATE = 0.01
FIRST_TRAFFIC_DAY = 20
NUM_RESAMPLES = 50
QUIET = {"none", "weekly_season"}
BASE = "smollm2-135m-instruct"


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read packed JSON lines."""
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def to_row(line: dict[str, Any]) -> TrafficRow:
    """Keep what traffic has: no label, no prediction."""
    return TrafficRow(
        datetime.fromisoformat(line["time"]).astimezone(UTC), line["text"], {"confidence": line["confidence"]}
    )


def build(rows: list[TrafficRow], embeddings: StaticEmbeddings) -> Reference:
    """Make a reference."""
    return build_reference(observe(rows, embeddings), seed=0, base=BASE)


def look(
    reference: Reference, rows: list[TrafficRow], embeddings: StaticEmbeddings
) -> tuple[tuple[SignalVerdict, ...], float]:
    """Watch traffic; also return microseconds a request, from text to verdict."""
    began = time.perf_counter()
    verdicts = watch(reference, observe(rows, embeddings), rows, rate=RATE)
    return verdicts, 1e6 * (time.perf_counter() - began) / len(rows)


def resample(rows: list[TrafficRow], *, by_weekday: bool, random: np.random.Generator) -> list[TrafficRow]:
    """Draw sixty days of traffic from a reference's own rows."""
    pools: dict[int, list[TrafficRow]] = defaultdict(list)
    for row in rows:
        pools[row.time.weekday() if by_weekday and row.time else 0].append(row)
    first = max(row.time for row in rows if row.time).date() + timedelta(days=1)
    a_day = len(rows) // FIRST_TRAFFIC_DAY
    drawn = []
    for number in range(60):
        day = first + timedelta(days=number)
        pool = pools[day.weekday() if by_weekday else 0]
        moment = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
        drawn += [
            TrafficRow(moment, pool[index].text, pool[index].numbers)
            for index in random.integers(len(pool), size=a_day)
        ]
    return drawn


def describe(label: dict[str, Any], verdicts: tuple[SignalVerdict, ...], first: date) -> str:
    """Say which signals alarmed, on which day, and since when."""
    found = [
        f"{one.signal} on day {(one.found_on - first).days} (since {(one.since - first).days}, "
        f"size {one.size.value:.2f} in {one.size.interval[0]:.2f} to {one.size.interval[1]:.2f})"
        for one in verdicts
        if one.state == "drift" and one.found_on and one.since and one.size
    ]
    start = "" if label["start_day"] is None else f" from day {label['start_day']}"
    return f"{label['stream']} {label['kind']}{start}: {'; '.join(found) or 'no alarm'}"


def main() -> None:
    """Watch every stream, then the resamples."""
    options = argparse.ArgumentParser()
    options.add_argument("--data", type=Path, default=Path(os.environ.get("LUTHIER_DATA", "../shared/data")) / "drift")
    options.add_argument("--resamples", type=int, default=NUM_RESAMPLES)
    chosen = options.parse_args()
    if not (chosen.data / "dev_streams.jsonl.gz").is_file():
        sys.exit(f"there is no {chosen.data / 'dev_streams.jsonl.gz'}; name the folder with --data")
    embeddings = open_embeddings(open_cached(BASE, cache=find_cache(os.environ)))
    streams: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in read_lines(chosen.data / "dev_streams.jsonl.gz"):
        streams[line["stream"]].append(line)
    labels = {label["stream"]: label for label in read_lines(chosen.data / "dev_labels.jsonl.gz")}
    result: dict[str, Any] = defaultdict(int)
    delays: dict[str, list[int]] = defaultdict(list)
    speeds, references, told = [], [], []
    for name, lines in streams.items():
        before = [to_row(line) for line in lines if line["day"] < FIRST_TRAFFIC_DAY]
        after = [to_row(line) for line in lines if line["day"] >= FIRST_TRAFFIC_DAY]
        reference = build(before, embeddings)
        references.append((before, reference))
        verdicts, speed = look(reference, after, embeddings)
        speeds.append(speed)
        first = date.fromisoformat(lines[0]["time"][:10])
        told.append(describe(labels[name], verdicts, first))
        print(told[-1])
        count(labels[name], verdicts, first, result, delays)
    for by_weekday in (False, True):
        random = np.random.default_rng(0)
        alarms = 0
        for number in range(chosen.resamples):
            before, reference = references[number % len(references)]
            drawn = resample(before, by_weekday=by_weekday, random=random)
            alarms += any(one.state == "drift" for one in look(reference, drawn, embeddings)[0])
        result["resample_alarms_by_weekday" if by_weekday else "resample_alarms"] = alarms
    result["sudden_found"] = result.pop("sudden_mix_found", 0)
    result["decision_us_p50"] = round(float(np.median(speeds)), 1)
    result |= {f"{kind}_delay_days": sorted(days) for kind, days in delays.items()}
    path = write_results("monitor", ratios=dict(result), cases=told)
    print(f"results: {path.relative_to(REPOSITORY)}", file=sys.stderr, flush=True)
    print(json.dumps(dict(result)))


def count(
    label: dict[str, Any],
    verdicts: tuple[SignalVerdict, ...],
    first: date,
    result: dict[str, Any],
    delays: dict[str, list[int]],
) -> None:
    """Add one stream to the totals; an alarm before the change is a false one."""
    found = [(one.found_on - first).days for one in verdicts if one.state == "drift" and one.found_on]
    start = label["start_day"]
    if label["kind"] in QUIET or (found and min(found) < start):
        result["false_alarm_streams"] += bool(found)
    if label["kind"] not in QUIET:
        result[f"{label['kind']}_streams"] += 1
        result[f"{label['kind']}_found"] += bool(found) and min(found) >= start
        delays[label["kind"]] += [min(found) - start] if found and min(found) >= start else []


if __name__ == "__main__":
    main()
