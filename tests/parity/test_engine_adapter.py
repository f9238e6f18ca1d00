"""Our adapters against PEFT: the same layers, the same files, the same logits; and saved trained weights come back."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM

from luthier.foundation.core.errors import ModelError, PlanError
from luthier.instruments.engine.load import LoadedModel, load_model, wrap_model
from luthier.instruments.engine.methods.full.config import Config as FullConfig
from luthier.instruments.engine.methods.full.method import PLUGIN as FULL
from luthier.instruments.engine.methods.lora.config import Config as LoraConfig
from luthier.instruments.engine.methods.lora.method import PLUGIN as LORA
from tests.fixtures.tiny_models import ARCHITECTURES, build_tiny, make_tiny

pytestmark = pytest.mark.parity
DIGEST = "ab" * 32
IDS_T = torch.tensor([[5, 9, 17, 300, 4, 4, 80]])


def _logits(loaded: LoadedModel) -> Tensor:
    with loaded.plain_attention(), torch.no_grad():
        logits: Tensor = loaded.model(input_ids=IDS_T, use_cache=False).logits
    return logits


def _tune(loaded: LoadedModel, **options: object) -> None:
    for parameter in LORA.build(loaded, LoraConfig(rank=4, **options), seed=1):
        parameter.data.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)) * 0.1)


def _code_of(error: pytest.ExceptionInfo[ModelError] | pytest.ExceptionInfo[PlanError]) -> str:
    problem = error.value.problems[0]
    assert problem.fix
    assert problem.got
    return problem.code


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_peft_loads_our_adapter_unchanged_and_gives_equal_logits(architecture: str, tmp_path: Path) -> None:
    folder, adapter = build_tiny(architecture, tmp_path / "base"), tmp_path / "adapter"
    adapter.mkdir()
    loaded = load_model(folder, base_name=str(folder), base_digest=DIGEST)
    _tune(loaded, rank_stabilised=architecture == "qwen3")
    LORA.save(loaded, adapter)
    with warnings.catch_warnings():
        warnings.filterwarnings("error")  # an unknown key in adapter_config.json would warn
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)  # PEFT 0.21, transformers 5.23
        theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), adapter).eval()
    with torch.no_grad():
        their_logits = theirs(input_ids=IDS_T).logits
    # the same float32 products; PEFT's sums may run in another order
    torch.testing.assert_close(_logits(loaded), their_logits, rtol=1e-5, atol=1e-5)


def test_an_adapter_comes_back_on_its_base_and_on_no_other(tmp_path: Path) -> None:
    folder = build_tiny("llama", tmp_path / "base")
    loaded = load_model(folder, base_name="tiny", base_digest=DIGEST)
    _tune(loaded)
    LORA.save(loaded, tmp_path)
    again = load_model(folder)
    LORA.load(again, tmp_path, DIGEST)
    assert torch.equal(_logits(again), _logits(loaded))
    assert [p.requires_grad for p in again.model.parameters()] == [p.requires_grad for p in loaded.model.parameters()]
    with pytest.raises(ModelError) as caught:
        LORA.load(load_model(folder), tmp_path, "cd" * 32)
    assert _code_of(caught) == "E-ENG-005"
    assert "cdcdcdcdcdcd" in caught.value.problems[0].got
    assert "abababababab" in caught.value.problems[0].needs
    assert "tiny" in caught.value.problems[0].needs


@pytest.mark.parametrize(
    "damage",
    ["no config", "no weights", "half the weights", "no json", "another method", "another base"],
)
def test_a_damaged_adapter_is_one_error(tmp_path: Path, damage: str) -> None:
    loaded = wrap_model(make_tiny("llama"))
    _tune(loaded)
    LORA.save(loaded, tmp_path)
    config, weights = tmp_path / "adapter_config.json", tmp_path / "adapter_model.safetensors"
    match damage:
        case "no config":
            config.unlink()
        case "no weights":
            weights.unlink()
        case "half the weights":
            weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
        case "no json":
            config.write_text("{")
        case "another method":
            config.write_text(json.dumps({"peft_type": "IA3"}))
    fresh = wrap_model(make_tiny("qwen3", num_hidden_layers=2) if damage == "another base" else make_tiny("llama"))
    with pytest.raises(ModelError) as caught:
        LORA.load(fresh, tmp_path, "")
    assert _code_of(caught) == "E-ENG-009"


def test_state_goes_out_and_back_bit_for_bit() -> None:
    loaded = wrap_model(make_tiny("llama"))
    _tune(loaded)
    state, logits = {name: value.clone() for name, value in LORA.state(loaded).items()}, _logits(loaded)
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            if parameter.requires_grad:
                parameter.add_(1.0)
    assert not torch.equal(_logits(loaded), logits)
    LORA.load_state(loaded, state)
    assert torch.equal(_logits(loaded), logits)
    state.pop(next(iter(state)))
    with pytest.raises(ModelError) as caught:
        LORA.load_state(loaded, state)
    assert _code_of(caught) == "E-ENG-009"


def test_one_seed_gives_one_adapter_and_leaves_the_global_generator_alone() -> None:
    states = []
    for seed in (1, 1, 2):
        loaded = wrap_model(make_tiny("llama"))
        torch.manual_seed(5)
        LORA.build(loaded, LoraConfig(rank=4), seed=seed)
        assert torch.equal(torch.rand(3), torch.rand(3, generator=torch.Generator().manual_seed(5)))
        states.append(torch.cat([value.flatten() for value in LORA.state(loaded).values()]))
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_a_fresh_adapter_is_its_base() -> None:
    loaded = wrap_model(make_tiny("phi3"))
    before = _logits(loaded)
    LORA.build(loaded, LoraConfig(rank=4), seed=0)
    assert torch.equal(_logits(loaded), before)


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "phi3", "gemma3"])
def test_full_tuning_saves_a_model_that_transformers_loads(architecture: str, tmp_path: Path) -> None:
    folder, trained = build_tiny(architecture, tmp_path / "base"), tmp_path / "trained"
    trained.mkdir()
    loaded = load_model(folder)
    parameters = FULL.build(loaded, FullConfig(), seed=0)
    assert sum(p.numel() for p in parameters) == loaded.num_parameters
    with torch.no_grad():
        for parameter in parameters:
            parameter.mul_(1.05)
    FULL.save(loaded, trained)
    theirs = AutoModelForCausalLM.from_pretrained(trained)
    with torch.no_grad():
        torch.testing.assert_close(theirs(input_ids=IDS_T).logits, _logits(loaded), rtol=0, atol=0)
    again = load_model(folder)
    FULL.build(again, FullConfig(), seed=0)
    FULL.load(again, trained, "")
    FULL.merge(again)
    assert torch.equal(_logits(again), _logits(loaded))


def test_full_tuning_refuses_what_is_not_its_model(tmp_path: Path) -> None:
    loaded = wrap_model(make_tiny("llama"))
    state = FULL.state(loaded)
    with pytest.raises(ModelError) as caught:
        FULL.load_state(loaded, {name: value for name, value in state.items() if "norm" not in name})
    assert _code_of(caught) == "E-ENG-009"
    with pytest.raises(ModelError) as caught:
        FULL.load(loaded, tmp_path, "")
    assert _code_of(caught) == "E-ENG-009"
    (tmp_path / "model.safetensors").write_bytes(b"not a tensor file")
    with pytest.raises(ModelError) as caught:
        FULL.load(loaded, tmp_path, "")
    assert _code_of(caught) == "E-ENG-009"
    with pytest.raises(ModelError) as caught:
        FULL.disabled(loaded)
    assert _code_of(caught) == "E-ENG-010"


@pytest.mark.parametrize("name", ["q_prj", "lm_head", "embed_tokens", "model.layers.0.self_attn.q_proj"])
def test_a_target_that_matches_nothing_names_the_nearest(name: str) -> None:
    with pytest.raises(PlanError) as caught:
        LORA.build(wrap_model(make_tiny("llama")), LoraConfig(rank=4, target_modules=(name,)), seed=0)
    assert _code_of(caught) == "E-ENG-004"
    problem = caught.value.problems[0]
    assert "q_proj" in problem.allowed
    assert "nearest" in problem.what


def test_a_rank_above_a_layers_width_is_refused() -> None:
    with pytest.raises(PlanError) as caught:
        LORA.build(wrap_model(make_tiny("llama")), LoraConfig(rank=25), seed=0)
    assert _code_of(caught) == "E-ENG-003"
    assert caught.value.problems[0].allowed == "1 to 24"  # keys are 2 heads of 12 wide


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_plan_counts_the_parameters_that_are_trained(architecture: str) -> None:
    from luthier.foundation.schema.model import ModelShape
    from luthier.instruments.engine.methods.lora.method import find_linear_shapes

    loaded = wrap_model(make_tiny(architecture))
    config = loaded.config
    shape = ModelShape(
        architecture=architecture,
        num_parameters=loaded.num_parameters,
        vocabulary=config.vocab_size,
        width=config.hidden_size,
        num_layers=config.num_hidden_layers,
        num_heads=config.num_attention_heads,
        num_key_value_heads=config.num_key_value_heads,
        head_width=12,
        feed_forward=config.intermediate_size,
        max_positions=512,
        is_tied=config.tie_word_embeddings,
        linear_shapes=find_linear_shapes(loaded),
    )
    for options in ({}, {"target_modules": ("o_proj",)}):
        planned = LoraConfig(rank=3, **options).trainable_parameters(shape)
        fresh = wrap_model(make_tiny(architecture))
        assert planned == sum(p.numel() for p in LORA.build(fresh, LoraConfig(rank=3, **options), seed=0))
    assert FullConfig().trainable_parameters(shape) == loaded.num_parameters
    rate, reason = LoraConfig().default_learning_rate(shape)
    assert rate == pytest.approx(10 * FullConfig().default_learning_rate(shape)[0], rel=0.05)
    assert "LoRA Without Regret" in reason
