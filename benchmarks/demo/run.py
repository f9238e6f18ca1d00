"""On how many made-up companies the demo's gain holds: its recipe to a verdict for ten seeds, one process each.

    make bench AREA=demo

Needs the default base. Prints one JSON object last: ``demo_seeds`` and ``demo_seeds_passed``, then ``demo_gain_min``,
``demo_gain_median`` and ``demo_gain_low_min`` (tuned less base in exact match, and the least lower end of its
interval). With ``--workspace`` what was reached stays there, and a second call goes on.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from record import REPOSITORY, write_results

from luthier.api.demo import Demo, list_overrides, write_files
from luthier.foundation.core.progress import SilentProgress

NUM_SEEDS = 10


def judge_company(seed: int, workspace: Path) -> dict[str, Any]:
    """Run the demo's recipe for one company to its verdict; 3 is the exit code of a gate that does not pass."""
    files = write_files(workspace / "companies" / f"seed-{seed}", seed, SilentProgress())
    settings = [part for override in list_overrides(Demo(seed)) for part in ("--set", override)]
    command = [sys.executable, "-m", "luthier", "run", str(files.recipe), "--until", "evaluate", "--json"]
    began = time.monotonic()
    done = subprocess.run(
        [*command, *settings, "--workspace", str(workspace)], capture_output=True, text=True, check=False
    )
    if done.returncode not in {0, 3}:
        raise SystemExit(f"seed {seed}: exit {done.returncode}: {done.stderr[-500:]}")
    found = json.loads(done.stdout)
    gain = {name: found["gain"][name] for name in ("metric", "value", "interval", "p", "n", "clusters")}
    (plan,) = (stage["evidence"] for stage in found["stages"] if stage["stage"] == "plan")
    seconds = round(time.monotonic() - began)
    return {
        "seed": seed,
        "company": files.company,
        "seconds": seconds,
        "plan": plan,
        "verdict": found["verdict"],
        **gain,
    }


def main() -> None:
    """Judge all companies and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, help="work here and leave it")
    parser.add_argument("--seeds", type=int, default=NUM_SEEDS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        cases = []
        for seed in range(options.seeds):
            cases.append(judge_company(seed, options.workspace or Path(made)))
            print(json.dumps(cases[-1]), file=sys.stderr, flush=True)
    gains = [float(case["value"]) for case in cases]
    ratios = {
        "demo_seeds": len(cases),
        "demo_seeds_passed": sum(case["verdict"] == "PASS" for case in cases),
        "demo_gain_min": round(min(gains), 3),
        "demo_gain_median": round(statistics.median(gains), 3),
        "demo_gain_low_min": round(min(case["interval"][0] for case in cases), 3),
    }
    print(f"results: {write_results('demo', ratios=ratios, cases=cases).relative_to(REPOSITORY)}", file=sys.stderr)
    print(json.dumps(ratios))


if __name__ == "__main__":
    main()
