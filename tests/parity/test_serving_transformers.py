"""Answers that are served against transformers and PEFT: tokens, log-probabilities, adapters mixed in one batch."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from luthier.foundation.schema.serving import Delta
from luthier.instruments.engine.serving.runtime import RuntimeOptions, TorchChatRuntime
from tests.fixtures.served_models import ask, gather, read_ids, source, write_adapter, write_base, write_full
from tests.fixtures.tiny_models import ARCHITECTURES

pytestmark = pytest.mark.parity
TEXTS = ("reset my card", "where is my parcel, it has not arrived", "one word", "tell me the balance of account 7")
NEW_TOKENS = 10


def _theirs(model: Any, folder: Path, text: str) -> tuple[tuple[int, ...], list[float], list[int]]:
    """Return transformers' greedy answer with the log-probability of each token, and its prompt."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    messages = [{"role": "user", "content": text}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")["input_ids"]
    out = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        do_sample=False,
        max_new_tokens=NEW_TOKENS,
        eos_token_id=2,
        pad_token_id=0,
        return_dict_in_generate=True,
        output_logits=True,
    )
    ids = out.sequences[0, prompt.shape[1] :].tolist()
    logps = [
        float(torch.log_softmax(logits[0].float(), -1)[token]) for logits, token in zip(out.logits, ids, strict=True)
    ]
    return tuple(ids), logps, prompt[0].tolist()


def _check(pieces: list[Delta], theirs: tuple[tuple[int, ...], list[float], list[int]]) -> None:
    ids, logps, _ = theirs
    assert read_ids(pieces) == ids
    ours = torch.tensor([piece.logprobs[0].logprob for piece in pieces])
    # float32 products in another order; the parity certificate allows as much
    torch.testing.assert_close(ours, torch.tensor(logps), rtol=0, atol=1e-4)
    assert sum(piece.sum_logprob or 0.0 for piece in pieces) == pytest.approx(sum(logps), abs=1e-3)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_answers_computed_together_equal_transformers_one_by_one(architecture: str, tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", architecture)
    runtime = TorchChatRuntime([source("base", base)], RuntimeOptions())
    theirs = AutoModelForCausalLM.from_pretrained(base)
    asked = [runtime.submit(ask(text, max_tokens=NEW_TOKENS, top_logprobs=0)) for text in TEXTS]
    for text, answering in zip(TEXTS, asked, strict=True):
        expected = _theirs(theirs, base, text)
        assert list(answering.prompt_token_ids) == expected[2]
        _check(list(answering), expected)
    runtime.close(drain_seconds=5)


def test_adapters_of_one_base_in_one_batch_equal_peft_each(tmp_path: Path) -> None:
    """Different ranks, layers and scalings, the bare base and a full-tuned model, asked at once."""
    base = write_base(tmp_path / "base")
    adapters = {
        "one": write_adapter(base, tmp_path / "one", seed=1),
        "two": write_adapter(base, tmp_path / "two", seed=2, rank=2, target_modules=["q_proj", "down_proj"]),
        "three": write_adapter(base, tmp_path / "three", seed=3, rank_stabilised=True),
    }
    full = write_full(base, tmp_path / "full", seed=4)
    sources = [source("base", base), *(source(name, base, folder) for name, folder in adapters.items())]
    runtime = TorchChatRuntime([*sources, source("full", base, full, method="full")], RuntimeOptions())
    names = ("one", "base", "two", "three", "full", "one")
    asked = [
        (name, text, runtime.submit(ask(text, name, max_tokens=NEW_TOKENS, top_logprobs=0)))
        for name in names
        for text in TEXTS[:2]
    ]
    expected: dict[tuple[str, str], Any] = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)  # PEFT 0.21, transformers 5.23
        for name in dict.fromkeys(names):
            plain = AutoModelForCausalLM.from_pretrained(full if name == "full" else base)
            model = PeftModel.from_pretrained(plain, adapters[name]) if name in adapters else plain
            expected |= {(name, text): _theirs(model.eval(), base, text) for text in TEXTS[:2]}
    assert len({ids for ids, _, _ in expected.values()}) == len(expected), "each model answers in its own way"
    for name, text, answering in asked:
        _check(list(answering), expected[name, text])
    runtime.close(drain_seconds=5)


def test_top_logprobs_are_those_of_the_raw_logits_at_any_temperature(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    runtime = TorchChatRuntime([source("base", base)], RuntimeOptions())
    answering = runtime.submit(ask(TEXTS[0], temperature=1.7, seed=1, max_tokens=4, top_logprobs=5))
    pieces = gather(answering)[0]
    ids = torch.tensor([[*answering.prompt_token_ids, *read_ids(pieces)]])
    with torch.no_grad():
        logps_TV = torch.log_softmax(AutoModelForCausalLM.from_pretrained(base)(ids).logits[0], -1)
    for place, piece in enumerate(pieces, len(answering.prompt_token_ids) - 1):
        (found,) = piece.logprobs
        values, top = logps_TV[place].topk(5)
        assert [token for token, _, _ in found.top] == top.tolist()
        torch.testing.assert_close(torch.tensor([value for _, _, value in found.top]), values, rtol=0, atol=1e-4)
        assert found.logprob == pytest.approx(float(logps_TV[place, found.token_id]), abs=1e-4)
    runtime.close(drain_seconds=5)


def test_an_adapter_that_is_no_plain_pair_of_matrices_gets_a_load_of_its_own(tmp_path: Path) -> None:
    """One that trains biases too is computed by PEFT's own layers, beside a plain adapter of the same base."""
    base = write_base(tmp_path / "base")
    plain, scaled = (write_adapter(base, tmp_path / name, seed=1) for name in ("plain", "scaled"))
    config = json.loads((scaled / "adapter_config.json").read_text())
    (scaled / "adapter_config.json").write_text(json.dumps(config | {"use_rslora": True, "bias": "lora_only"}))
    runtime = TorchChatRuntime([source("plain", base, plain), source("scaled", base, scaled)], RuntimeOptions())
    assert len(runtime._shelf.bases) == 2
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)  # PEFT 0.21, transformers 5.23
        theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), scaled).eval()
    _check(
        list(runtime.submit(ask(TEXTS[0], "scaled", max_tokens=NEW_TOKENS, top_logprobs=0))),
        _theirs(theirs, base, TEXTS[0]),
    )
    runtime.close(drain_seconds=5)


def test_bfloat16_is_near_and_another_number(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    found = []
    for precision in ("fp32", "bf16"):
        runtime = TorchChatRuntime([source("base", base)], RuntimeOptions(precision=precision))
        (piece,) = runtime.submit(ask(TEXTS[0], max_tokens=1, top_logprobs=20))
        runtime.close(drain_seconds=5)
        found.append({token: value for token, _, value in piece.logprobs[0].top})
    shared = found[0].keys() & found[1].keys()
    gaps = [abs(found[0][token] - found[1][token]) for token in shared]
    assert len(shared) > 15
    assert 0 < max(gaps) < 0.2  # eight bits of mantissa over three layers
