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
from luthier.instruments.text.pairs import EncodedPair, Example
from luthier.instruments.text.prefixes import count_distinct_tokens
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


def make_example(index: int, row: dict[str, Any]) -> Example:
    """Turn a row or a pair of the specification into one of ours."""
    if "ids" in row:
        return make_row(str(index), row["ids"], row["first"])
    prompt = row["prompt"]
    answers = (make_row(str(index), prompt + row[side], len(prompt)) for side in ("chosen", "rejected"))
    return EncodedPair(str(index), *answers)


def make_row(name: str, ids: list[int], first: int) -> EncodedRow:
    """Make a sequence that is trained from its token ``first`` on."""
    weights_T = np.zeros(len(ids), dtype=np.float32)
    weights_T[first:] = 1.0
    return EncodedRow(name, np.array(ids, dtype=np.int32), weights_T)


def choose_pack_tokens(steps: list[list[int]], examples: tuple[Example, ...], precision: str) -> int:
    """Make packs as large as a plan would."""
    texts = [[sequence.token_ids_T for sequence in example.sequences] for example in examples]
    apart = [count_distinct_tokens(own) for own in texts]
    preferred = prefer_pack_tokens(
        [[ids for i in step for ids in texts[i]] for step in steps],
        num_apart=sum(apart[i] for step in steps for i in step),
        is_paired=len(texts[0]) > 1,
        precision=precision,
    )
    return max(preferred, *apart)


def make_plan(spec: dict[str, Any], examples: tuple[Example, ...]) -> PlanIdentity:
    """Make the plan of a benchmark: the steps come from the specification, so batch_tokens bounds nothing."""
    method = {"type": "lora", "rank": spec["rank"], "alpha": float(spec["alpha"]), "target_modules": spec["targets"]}
    return PlanIdentity(
        launcher="local",
        backend="luthier",
        precision=spec["precision"],
        seed=spec["seed"],
        num_examples=len(examples),
        examples=NO_DIGEST,
        max_length=100_000,
        too_long="refuse",
        batch_tokens=10**9,
        pack_tokens=choose_pack_tokens(spec["steps"], examples, spec["precision"]),
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
        objective={"type": spec["objective"]},
        probes=NO_DIGEST,
    )


def main(spec_path: Path, result_path: Path) -> None:
    """Train what the specification says through the real loop."""
    spec = json.loads(spec_path.read_text())
    examples = tuple(make_example(index, row) for index, row in enumerate(spec["rows"]))
    plan = make_plan(spec, examples)
    loaded = load_model(Path(spec["model"]))
    method = load_runtime("methods", "lora")
    options = {name: value for name, value in plan.method.items() if name != "type"}
    method.build(loaded, load_config("methods", "lora").model_validate(options), seed=spec["seed"])
    loaded_bytes = mark_loaded()
    folder = result_path.parent / "ours"
    name = spec["objective"]
    config = load_config("objectives", name).model_validate({"beta": spec["beta"]} if name == "dpo" else {})
    job = Job(
        plan, "bench", Path(), "small", NO_DIGEST, folder, load_runtime("objectives", name), config, examples, (), ()
    )
    lengths = [example.num_tokens for example in examples]
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
