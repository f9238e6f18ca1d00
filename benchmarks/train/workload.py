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
    """

    name: str
    precision: str
    shares_prompt: bool


CASES = (Case("mixed_fp32", "fp32", False), Case("mixed_bf16", "bf16", False), Case("shared_fp32", "fp32", True))


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


def make_spec(case: Case, model: Path, *, num_steps: int, is_tiny: bool) -> dict[str, Any]:
    """Make what a side reads: model, rows, which rows each step has, and every number of the optimizer."""
    rows = make_rows(case, num_rows=ROWS_PER_STEP * num_steps, is_tiny=is_tiny)
    return {
        "model": str(model),
        "rows": rows,
        "steps": [list(range(start, start + ROWS_PER_STEP)) for start in range(0, len(rows), ROWS_PER_STEP)],
        "rows_per_step": ROWS_PER_STEP,
        "precision": case.precision,
        "learning_rate": 1e-3,
        "rank": RANK,
        "alpha": ALPHA,
        "targets": TARGETS,
        "seed": 1,
        "per_device": 8,
    }
