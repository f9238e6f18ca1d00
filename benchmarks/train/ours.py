"""Train one workload with our own loop and write what it took. Usage: ours.py SPEC.json RESULT.json."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator

from luthier.foundation.core.clock import SystemClock
from luthier.foundation.core.files import REAL, FileSystem
from luthier.foundation.core.progress import SilentProgress
from luthier.foundation.registry import load_config, load_runtime
from luthier.foundation.schema.plan import PlanIdentity
from luthier.instruments.engine.load import load_model
from luthier.instruments.text.batches import StepRows
from luthier.instruments.text.encode import EncodedRow
from luthier.stages.plan.packs import prefer_pack_tokens
from luthier.stages.train import loop
from luthier.stages.train.interrupt import Interrupts
from luthier.stages.train.job import Job, Tuned
from luthier.stages.train.metrics import METRICS_NAME, read_metrics

sys.path.insert(0, str(Path(__file__).parents[1] / "peers"))
from process_memory import mark_loaded, peak_above

NO_DIGEST = "0" * 64


@dataclass
class BenchContext:
    """As much of a stage's context as the loop asks for."""

    folder: Path
    fs: FileSystem = REAL
    clock: Any = field(default_factory=SystemClock)
    progress: Any = field(default_factory=SilentProgress)


def make_row(index: int, row: dict[str, Any]) -> EncodedRow:
    """Turn a row of the specification into one of ours."""
    weights_T = np.zeros(len(row["ids"]), dtype=np.float32)
    weights_T[row["first"] :] = 1.0
    return EncodedRow(str(index), np.array(row["ids"], dtype=np.int32), weights_T)


def make_plan(spec: dict[str, Any], rows: tuple[EncodedRow, ...]) -> PlanIdentity:
    """Make the plan of a benchmark: the steps come from the specification, so batch_tokens bounds nothing.

    Packs are as large as a plan would make them.
    """
    method = {"type": "lora", "rank": spec["rank"], "alpha": float(spec["alpha"]), "target_modules": spec["targets"]}
    return PlanIdentity(
        launcher="local",
        backend="luthier",
        precision=spec["precision"],
        seed=spec["seed"],
        num_examples=len(rows),
        examples=NO_DIGEST,
        max_length=100_000,
        too_long="refuse",
        batch_tokens=10**9,
        pack_tokens=prefer_pack_tokens([[rows[i].token_ids_T for i in step] for step in spec["steps"]]),
        epochs=1.0,
        num_steps=len(spec["steps"]),
        warmup_steps=0,
        learning_rate=spec["learning_rate"],
        weight_decay=0.0,
        max_grad_norm=1.0,
        gradient_checkpointing=False,
        checkpoint_every=10**9,
        evaluate_every=0,
        method=method,
        objective={"type": "sft"},
        probes=NO_DIGEST,
    )


def main(spec_path: Path, result_path: Path) -> None:
    """Train what the specification says through the real loop."""
    spec = json.loads(spec_path.read_text())
    rows = tuple(make_row(index, row) for index, row in enumerate(spec["rows"]))
    plan = make_plan(spec, rows)
    loaded = load_model(Path(spec["model"]))
    method = load_runtime("methods", "lora")
    options = {name: value for name, value in plan.method.items() if name != "type"}
    method.build(loaded, load_config("methods", "lora").model_validate(options), seed=spec["seed"])
    loaded_bytes = mark_loaded()
    folder = result_path.parent / "ours"
    sft = load_runtime("objectives", "sft"), load_config("objectives", "sft")()
    job = Job(plan, "bench", Path(), "small", NO_DIGEST, folder, *sft, rows, (), ())
    lengths = [len(row.token_ids_T) for row in rows]
    steps = [StepRows(0, tuple(step), sum(lengths[index] for index in step)) for step in spec["steps"]]
    loop.iterate_steps = lambda *_, **__: iter(steps)  # the same rows in each step as on the other side
    loop.train(job, Tuned(loaded, method), Accelerator(), ctx=BenchContext(folder), interrupts=Interrupts())
    memory_bytes = peak_above(loaded_bytes)
    curve = list(read_metrics(folder / METRICS_NAME))
    result = {
        "losses": [line["loss"] for line in curve],
        "seconds": [line["num_tokens"] / line["tokens_per_second"] for line in curve],
        "memory_bytes": memory_bytes,
    }
    result_path.write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
