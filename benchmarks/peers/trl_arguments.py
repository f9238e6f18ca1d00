"""What both of TRL's trainers are told, so that SFT and DPO are measured under the same rules as ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peft import LoraConfig


def make_lora(spec: dict[str, Any]) -> LoraConfig:
    """Return the adapter that a specification names."""
    return LoraConfig(
        r=spec["rank"],
        lora_alpha=spec["alpha"],
        lora_dropout=0.0,
        target_modules=spec["targets"],
        bias="none",
        task_type="CAUSAL_LM",
    )


def list_arguments(spec: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the arguments of a trainer: the specification's batch, rate and order, and nothing that only costs time.

    Args:
        spec: Made by ``benchmarks/train/workload.py``.
        folder: Where the trainer may write.
    """
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": spec["per_device"],
        "gradient_accumulation_steps": spec["rows_per_step"] // spec["per_device"],
        "max_steps": len(spec["steps"]),
        "max_length": None,
        "train_sampling_strategy": "sequential",
        "learning_rate": spec["learning_rate"],
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "optim": "adamw_torch_fused",
        "activation_checkpointing": False,
        "bf16": spec["precision"] == "bf16",
        "use_cpu": True,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }
