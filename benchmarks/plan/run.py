"""How well the plan foretells memory and time: six trainings as processes of their own, estimate beside measured peak.

    make bench AREA=plan

Prints one JSON object last: ``memory_error_median``, ``memory_error_max``, ``time_error_median`` and
``time_error_max`` (estimate over measurement less one, without sign). Peaks are what ``/usr/bin/time -v`` would
print: the kernel's own greatest resident size of the process.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tokenizers import Tokenizer

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parents[1])]
from record import REPOSITORY, write_results  # noqa: E402  found by the line above

TEMPLATE_TOKENS = 48  # of the length is left to the template, rounded up
SIZES = {
    "small": {"hidden_size": 576, "num_hidden_layers": 8, "intermediate_size": 1536, "vocab_size": 16_384},
    "large": {"hidden_size": 576, "num_hidden_layers": 30, "intermediate_size": 1536, "vocab_size": 49_152},
}
CONFIGURATIONS = [
    ("small", "lora", 256),
    ("small", "lora", 2048),
    ("small", "full", 256),
    ("small", "full", 2048),
    ("large", "lora", 256),
    ("large", "lora", 2048),
]
BUILD = """
import sys, json
from pathlib import Path
from tests.fixtures.tiny_models import build_tiny
overrides = json.loads(sys.argv[2])
build_tiny("llama", Path(sys.argv[1]), **overrides)
"""


def build_base(name: str, folder: Path) -> Path:
    """Write a random model of one size, with heads as SmolLM2 has them."""
    overrides = SIZES[name] | {
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "head_dim": 64,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": True,
    }
    target = folder / name
    subprocess.run([sys.executable, "-c", BUILD, str(target), json.dumps(overrides)], check=True, cwd=ROOT)
    return target


def write_job(folder: Path, base: Path, method: str, length: int, *, precision: str) -> Path:
    """Write rows that nearly fill the length, and a recipe that takes two steps of four rows."""
    text = "the quick brown fox jumps over the lazy dog " * 1000
    tokens_a_character = len(Tokenizer.from_file(str(base / "tokenizer.json")).encode(text).ids) / len(text)
    characters = int((length - TEMPLATE_TOKENS) / tokens_a_character)
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as stream:
        for number in range(8):
            messages = [
                {"role": "user", "content": f"{number} {text[: 3 * characters // 4]}"},
                {"role": "assistant", "content": f"{number} {text[: characters // 4]}"},
            ]
            stream.write(json.dumps({"messages": messages}) + "\n")
    recipe = {
        "luthier": 1,
        "name": "memory",
        "data": {
            "sources": [{"path": "rows.jsonl"}],
            "operators": [],
            "split": {"validation": 0, "test": 0},
        },
        "model": {"base": str(base), "license": "LicenseRef-own"},
        "plan": {"probes": 1, "precision": precision},
        "train": {
            "method": method,
            "max_length": length,
            "too_long": "split",
            "epochs": 1,
            "batch_tokens": 4 * length,
            "learning_rate": 1e-5,
        },
    }
    (folder / "recipe.json").write_text(json.dumps(recipe), encoding="utf-8")
    return folder / "recipe.json"


def measure(recipe: Path) -> dict[str, float]:
    """Train in a process of its own and return its peak beside the plan's estimate."""
    command = [sys.executable, "-m", "luthier", "train", str(recipe), "--json", "--workspace", str(recipe.parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT) as child:
        output = child.stdout.read() if child.stdout else b""
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise SystemExit(f"{recipe}: exit {child.returncode}: {output.decode()[-500:]}")
    records = {record["kind"]: record for record in read_records(recipe.parent)}
    plan, run = records["plan"]["witness"], records["run"]["witness"]
    return {
        "peak_bytes": usage.ru_maxrss * 1024,
        "estimate_bytes": plan["peak_memory_bytes"],
        "parts": plan["memory_bytes"],
        "pack_tokens": records["plan"]["identity"]["pack_tokens"],
        "precision": records["plan"]["identity"]["precision"],
        "seconds_estimate": plan["seconds_estimate"],
        "seconds": run["seconds"],
    }


def read_records(workspace: Path) -> list[dict[str, object]]:
    """Return every record of a workspace as JSON."""
    from luthier.foundation.store.workspace import Workspace  # noqa: PLC0415  after the path is set

    records = Workspace.open(workspace).records
    return [records.latest(kind).to_json() for kind in ("plan", "run")]


def main() -> None:
    """Run every configuration and print the table and the JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="comma-separated numbers of configurations, from 0")
    parser.add_argument("--precision", default="auto", help="fp32, bf16 or auto")
    options = parser.parse_args()
    chosen = options.only
    numbers = [int(n) for n in chosen.split(",")] if chosen else range(len(CONFIGURATIONS))
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        bases = {name: build_base(name, Path(scratch)) for name in {CONFIGURATIONS[n][0] for n in numbers}}
        for number in numbers:
            size, method, length = CONFIGURATIONS[number]
            folder = Path(scratch) / f"job-{number}"
            folder.mkdir()
            row = measure(write_job(folder, bases[size], method, length, precision=options.precision))
            row |= {"size": size, "method": method, "length": length}
            row["time_error"] = row["seconds_estimate"] / row["seconds"] - 1.0
            row["error"] = row["estimate_bytes"] / row["peak_bytes"] - 1.0
            print(json.dumps(row), flush=True)
            found.append(row)
    errors, time_errors = ([abs(row[name]) for row in found] for name in ("error", "time_error"))
    summary = {
        "memory_error_median": round(statistics.median(errors), 3),
        "memory_error_max": round(max(errors), 3),
        "time_error_median": round(statistics.median(time_errors), 3),
        "time_error_max": round(max(time_errors), 3),
    }
    path = write_results("plan", ratios=summary, cases=found)
    print(f"results: {path.relative_to(REPOSITORY)}", file=sys.stderr, flush=True)
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
