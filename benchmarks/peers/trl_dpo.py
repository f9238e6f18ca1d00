"""Train one workload of pairs with TRL's DPOTrainer and write what it took. Runs in the peers' own environment.

Usage: trl_dpo.py SPEC.json RESULT.json. The specification is made by ``benchmarks/train/workload.py``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer

sys.path.insert(0, str(Path(__file__).parent))
from process_memory import mark_loaded, peak_above
from trl_arguments import list_arguments, make_lora
from trl_stopwatch import Stopwatch


class OnIds(DPOTrainer):
    """TRL's trainer takes texts; here pairs come as ids, so what would tokenise them does nothing."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset


def main(spec_path: Path, result_path: Path) -> None:
    """Train what the specification says; the reference is the base with the adapter off, as TRL does it."""
    spec = json.loads(spec_path.read_text())
    model = AutoModelForCausalLM.from_pretrained(spec["model"], dtype=torch.float32, attn_implementation="sdpa")
    torch.manual_seed(spec["seed"])
    model = get_peft_model(model, make_lora(spec))
    loaded_bytes = mark_loaded()
    pairs = [spec["rows"][index] for step in spec["steps"] for index in step]
    rows = [{f"{name}_ids": pair[name] for name in ("prompt", "chosen", "rejected")} for pair in pairs]
    watch = Stopwatch()
    trainer = OnIds(
        model=model,
        processing_class=AutoTokenizer.from_pretrained(spec["model"]),
        train_dataset=Dataset.from_list(rows),
        args=DPOConfig(**list_arguments(spec, result_path.parent / "trl"), beta=spec["beta"]),
        callbacks=[watch],
    )
    trainer.train()
    result = {"losses": watch.losses, "seconds": watch.seconds, "memory_bytes": peak_above(loaded_bytes)}
    result_path.write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
