"""`make bench AREA=train`: LoRA tuning side by side with TRL 1.16, on rows and on pairs, one case after the other.

The last line of stdout is one JSON object of ratios, ours over TRL's (memory: ours over TRL's too, smaller is
better). TRL runs in ``.bench-venv`` at the fastest of a few ways to split a step of 16 rows or 8 pairs, without
recomputation. ``ONLY=dpo`` or ``ONLY=sft`` runs the cases of one objective.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from workload import CASES, Case, count_tokens, make_spec, write_model

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "peers")]
from peer_environment import ensure_peer_python  # noqa: E402  found by the line above
from record import REPOSITORY, describe, write_results  # noqa: E402

OURS = HERE / "ours.py"
THEIRS = {name: HERE.parent / "peers" / f"trl_{name}.py" for name in ("sft", "dpo")}
PER_DEVICE = (8, 4)
NUM_WARMUP = 2
KEYS = {
    "mixed_fp32": "sft_lora_tokens_ratio_trl",
    "mixed_bf16": "sft_lora_tokens_ratio_trl_bf16",
    "shared_fp32": "sft_shared_prompt_ratio_trl",
    "dpo_fp32": "dpo_pairs_ratio_trl",
    "dpo_bf16": "dpo_pairs_ratio_trl_bf16",
}
MEMORY_KEYS = {"mixed_fp32": "sft_lora_memory_ratio_trl", "dpo_fp32": "dpo_memory_ratio_trl"}


def run_side(python: Path, script: Path, spec: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Run one side in a process of its own and return what it measured."""
    folder.mkdir(parents=True)
    (folder / "spec.json").write_text(json.dumps(spec))
    environment = {**os.environ, "OMP_NUM_THREADS": str(os.cpu_count()), "TOKENIZERS_PARALLELISM": "false"}
    command = [str(python), str(script), str(folder / "spec.json"), str(folder / "result.json")]
    subprocess.run(command, check=True, stdout=sys.stderr, env=environment)
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return result


def choose_per_device(python: Path, spec: dict[str, Any], folder: Path) -> int:
    """Try a few splits of a step on TRL's side, two steps each, and return the fastest."""
    short = {**spec, "steps": spec["steps"][:2]}
    seconds = {
        size: min(
            run_side(python, THEIRS[spec["objective"]], {**short, "per_device": size}, folder / f"try-{size}")[
                "seconds"
            ]
        )
        for size in PER_DEVICE
    }
    best = min(seconds, key=lambda size: seconds[size])
    tell(f"TRL's split of {spec['rows_per_step']} rows: {seconds} seconds a step; {best} at a time is taken")
    return best


def run_case(case: Case, model: Path, python: Path, folder: Path, *, options: argparse.Namespace) -> dict[str, Any]:
    """Run both sides of a case and put their numbers side by side."""
    spec = make_spec(case, model, num_steps=options.steps, is_tiny=options.tiny)
    spec["per_device"] = choose_per_device(python, spec, folder)
    sides = {
        "ours": run_side(Path(sys.executable), OURS, spec, folder / "ours"),
        "trl": run_side(python, THEIRS[case.objective], spec, folder / "trl"),
    }
    warmup = min(NUM_WARMUP, options.steps - 1)
    tokens = [sum(count_tokens(spec["rows"][index]) for index in step) for step in spec["steps"]][warmup:]
    rates = {
        name: [t / s for t, s in zip(tokens, side["seconds"][warmup:], strict=True)] for name, side in sides.items()
    }
    whole = {name: sum(tokens) / sum(side["seconds"][warmup:]) for name, side in sides.items()}
    rows = {name: rate * case.rows_per_step * len(tokens) / sum(tokens) for name, rate in whole.items()}
    gap = max(abs(a - b) for a, b in zip(sides["ours"]["losses"], sides["trl"]["losses"], strict=True))
    tell(
        f"{case.name}: ours {whole['ours']:.0f} tokens/s ({rows['ours']:.3f} rows/s), TRL {whole['trl']:.0f} "
        f"({rows['trl']:.3f}); greatest difference of the loss curves {gap:.1e} nats; "
        f"memory above loading {sides['ours']['memory_bytes'] / 2**20:.0f} and "
        f"{sides['trl']['memory_bytes'] / 2**20:.0f} MiB"
    )
    return {
        "case": case.name,
        "per_device": spec["per_device"],
        "num_steps": options.steps,
        "num_warmup": warmup,
        "tokens_per_second": {name: describe(values) | {"whole": whole[name]} for name, values in rates.items()},
        "rows_per_second": rows,
        "ratio": whole["ours"] / whole["trl"],
        "greatest_loss_difference": gap,
        "memory_bytes": {name: side["memory_bytes"] for name, side in sides.items()},
        "losses": {name: side["losses"] for name, side in sides.items()},
    }


def collect_ratios(results: list[dict[str, Any]]) -> dict[str, float]:
    """Name the ratios that were measured; a case that was not run has no key."""
    ratios = {KEYS[result["case"]]: round(result["ratio"], 3) for result in results}
    for result in results:
        if result["case"] in MEMORY_KEYS:
            memory = result["memory_bytes"]
            ratios[MEMORY_KEYS[result["case"]]] = round(memory["ours"] / memory["trl"], 3)
    return ratios


def tell(sentence: str) -> None:
    """Say one sentence on stderr; stdout is for the ratios."""
    print(sentence, file=sys.stderr, flush=True)


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--steps", type=int, default=12, help=f"optimizer steps; the first {NUM_WARMUP} are not counted"
    )
    parser.add_argument("--cases", nargs="+", default=[case.name for case in CASES], choices=[c.name for c in CASES])
    parser.add_argument("--only", choices=sorted(THEIRS), help="the cases of one objective")
    parser.add_argument(
        "--tiny", action="store_true", help="a model and rows for a smoke test; its ratios mean nothing"
    )
    parser.add_argument("--reuse-venv", action="store_true", help="run TRL in this environment, for development")
    parser.add_argument("--keep", action="store_true", help="write the results file of a tiny run too")
    return parser.parse_args()


def main() -> None:
    """Run the cases asked for and print their ratios, last."""
    options = read_options()
    python = Path(sys.executable) if options.reuse_venv else ensure_peer_python()
    with tempfile.TemporaryDirectory() as folder:
        model = write_model(Path(folder) / "model", is_tiny=options.tiny)
        results = [
            run_case(case, model, python, Path(folder) / case.name, options=options)
            for case in CASES
            if case.name in options.cases and options.only in {None, case.objective}
        ]
    ratios = collect_ratios(results)
    if not options.tiny or options.keep:
        environment = "shared" if options.reuse_venv else ".bench-venv"
        path = write_results("train", ratios=ratios, cases=results, peer_environment=environment)
        tell(f"results: {path.relative_to(REPOSITORY)}")
    print(json.dumps(ratios))


if __name__ == "__main__":
    main()
