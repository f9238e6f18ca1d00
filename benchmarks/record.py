"""What every benchmark keeps of a run: figures with their spread, commit, command, machine."""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"


def describe(values: list[float]) -> dict[str, float]:
    """Return median, interquartile range and number."""
    quarters = statistics.quantiles(values, n=4) if len(values) > 1 else [values[0]] * 3
    return {"median": statistics.median(values), "iqr": quarters[2] - quarters[0], "n": len(values)}


def write_results(area: str, *, ratios: dict[str, float], cases: object, **facts: Any) -> Path:
    """Keep everything that a reader needs to judge or repeat the run.

    Args:
        area: Folder of the benchmark.
        ratios: Its named figures.
        cases: What they were taken from.
        facts: What else this area has to say.
    """

    def git(*arguments: str) -> str:
        command = [shutil.which("git") or "git", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False).stdout

    now = datetime.now(tz=UTC)
    record = {
        "area": area,
        "when": now.isoformat(timespec="seconds"),
        "command": " ".join([f"benchmarks/{area}/run.py", *sys.argv[1:]]),
        "commit": git("rev-parse", "HEAD").strip(),
        "is_dirty": bool(git("status", "--porcelain").strip()),
        "machine": {"platform": platform.platform(), "num_cores": os.cpu_count(), "load_average": os.getloadavg()},
        **facts,
        "ratios": ratios,
        "cases": cases,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{area}-{now:%Y%m%dT%H%M%SZ}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    return path
