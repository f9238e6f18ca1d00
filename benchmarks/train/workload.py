"""What both sides train on: the model `small`, and rows as the budgets of the design name them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig

ROWS_PER_STEP = 16
PAIRS_PER_STEP = 8
BETA = 0.1
RANK = 16
ALPHA = 32
TARGETS = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
SMALL = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 8,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 16_384,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
}
TINY = SMALL | {"hidden_size": 72, "intermediate_size": 144, "num_hidden_layers": 2, "vocab_size": 512}


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        name: Short name in results.
        precision: ``fp32`` or ``bf16``, on both sides.
        shares_prompt: Whether the rows of a step share a system prompt.
        objective: ``sft`` on rows or ``dpo`` on pairs, with both sides' own defaults.
    """

    name: str
    precision: str
    shares_prompt: bool = False
    objective: str = "sft"

    @property
    def rows_per_step(self) -> int:
        """Rows, or pairs, of an optimizer step."""
        return PAIRS_PER_STEP if self.objective == "dpo" else ROWS_PER_STEP


CASES = (
    Case("mixed_fp32", "fp32"),
    Case("mixed_bf16", "bf16"),
    Case("shared_fp32", "fp32", shares_prompt=True),
    Case("dpo_fp32", "fp32", objective="dpo"),
    Case("dpo_bf16", "bf16", objective="dpo"),
)


def write_model(folder: Path, *, is_tiny: bool) -> Path:
    """Write the model with a tokenizer that TRL asks for and nobody uses: rows come as ids."""
    torch.manual_seed(0)
    config = LlamaConfig(**(TINY if is_tiny else SMALL), bos_token_id=None, eos_token_id=0, pad_token_id=0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({"<end>": 0, "<unk>": 1}, unk_token="<unk>"))  # noqa: S106  no password
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<end>", "pad_token": "<end>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def make_rows(case: Case, *, num_rows: int, is_tiny: bool) -> list[dict[str, Any]]:
    """Make rows of random ids.

    Mixed: 50 to 600 tokens, the last quarter trained. Shared: 512 tokens that all rows of a step have in common,
    128 of their own, the last quarter of these trained. Tiny workloads are a tenth as long.
    """
    random = np.random.default_rng(7)
    scale, vocabulary = (10, 512) if is_tiny else (1, 16_384)
    rows = []
    prompt: list[int] = []
    for index in range(num_rows):
        if case.shares_prompt:
            if index % ROWS_PER_STEP == 0:
                prompt = random.integers(2, vocabulary, size=512 // scale).tolist()
            own = random.integers(2, vocabulary, size=128 // scale).tolist()
        else:
            own = random.integers(2, vocabulary, size=int(random.integers(50, 601)) // scale).tolist()
        rows.append({"ids": [*prompt, *own], "first": len(prompt) + len(own) - max(1, len(own) // 4)})
    return rows


def make_pairs(*, num_pairs: int, is_tiny: bool) -> list[dict[str, Any]]:
    """Make pairs of random ids: prompts of 512 tokens, two answers of 64; a tenth of that where tiny."""
    random = np.random.default_rng(7)
    scale, vocabulary = (10, 512) if is_tiny else (1, 16_384)
    lengths = {"prompt": 512 // scale, "chosen": 64 // scale, "rejected": 64 // scale}
    return [
        {name: random.integers(2, vocabulary, size=length).tolist() for name, length in lengths.items()}
        for _ in range(num_pairs)
    ]


def count_tokens(row: dict[str, Any]) -> int:
    """Count what a side without sharing runs: a row, or the prompt twice with either answer."""
    if "ids" in row:
        return len(row["ids"])
    return 2 * len(row["prompt"]) + len(row["chosen"]) + len(row["rejected"])


def make_spec(case: Case, model: Path, *, num_steps: int, is_tiny: bool) -> dict[str, Any]:
    """Make what a side reads: model, rows, which rows each step has, and every number of the optimizer."""
    per_step = case.rows_per_step
    if case.objective == "dpo":
        rows = make_pairs(num_pairs=per_step * num_steps, is_tiny=is_tiny)
    else:
        rows = make_rows(case, num_rows=per_step * num_steps, is_tiny=is_tiny)
    return {
        "model": str(model),
        "rows": rows,
        "steps": [list(range(start, start + per_step)) for start in range(0, len(rows), per_step)],
        "rows_per_step": per_step,
        "objective": case.objective,
        "beta": BETA,
        "precision": case.precision,
        "learning_rate": 1e-3,
        "rank": RANK,
        "alpha": ALPHA,
        "targets": TARGETS,
        "seed": 1,
        "per_device": 8,
    }
