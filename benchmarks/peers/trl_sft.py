"""Train one workload with TRL's SFTTrainer and write what it took. Runs in the peers' own environment.

Usage: trl_sft.py SPEC.json RESULT.json. The specification is made by ``benchmarks/train/workload.py``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

sys.path.insert(0, str(Path(__file__).parent))
from process_memory import mark_loaded, peak_above
from trl_stopwatch import Stopwatch


def main(spec_path: Path, result_path: Path) -> None:
    """Train what the specification says."""
    spec = json.loads(spec_path.read_text())
    model = AutoModelForCausalLM.from_pretrained(spec["model"], dtype=torch.float32, attn_implementation="sdpa")
    torch.manual_seed(spec["seed"])
    lora = LoraConfig(
        r=spec["rank"],
        lora_alpha=spec["alpha"],
        lora_dropout=0.0,
        target_modules=spec["targets"],
        bias="none",
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(model, lora)
    loaded_bytes = mark_loaded()
    rows = [spec["rows"][index] for step in spec["steps"] for index in step]
    watch = Stopwatch()
    trainer = SFTTrainer(
        model=model,
        processing_class=AutoTokenizer.from_pretrained(spec["model"]),
        train_dataset=Dataset.from_list(
            [
                {
                    "input_ids": row["ids"],
                    "completion_mask": [0] * row["first"] + [1] * (len(row["ids"]) - row["first"]),
                }
                for row in rows
            ]
        ),
        args=SFTConfig(
            output_dir=str(result_path.parent / "trl"),
            per_device_train_batch_size=spec["per_device"],
            gradient_accumulation_steps=spec["rows_per_step"] // spec["per_device"],
            max_steps=len(spec["steps"]),
            max_length=None,
            train_sampling_strategy="sequential",
            learning_rate=spec["learning_rate"],
            lr_scheduler_type="cosine",
            warmup_steps=0,
            weight_decay=0.0,
            max_grad_norm=1.0,
            optim="adamw_torch_fused",
            completion_only_loss=True,
            activation_checkpointing=False,
            bf16=spec["precision"] == "bf16",
            use_cpu=True,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        ),
        callbacks=[watch],
    )
    trainer.train()
    result = {"losses": watch.losses, "seconds": watch.seconds, "memory_bytes": peak_above(loaded_bytes)}
    result_path.write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
