"""A model folder is judged without loading it: safe, whole, and known by its digest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from luthier.foundation.core.errors import ModelError
from luthier.foundation.core.model_files import compute_weights_digest
from luthier.stages.model.folder import check_safe, read_shape, read_tensor_shapes
from tests.fixtures.tiny_models import ARCHITECTURES, build_tiny

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 8,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "num_hidden_layers": 1,
    "intermediate_size": 12,
    "vocab_size": 10,
    "max_position_embeddings": 64,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A complete folder of a one-layer model with a tied head."""
    target = tmp_path / "model"
    target.mkdir()
    (target / "config.json").write_text(json.dumps(CONFIG))
    tensors = {
        "model.embed_tokens.weight": np.zeros((10, 8), np.float32),
        "model.layers.0.self_attn.q_proj.weight": np.zeros((8, 8), np.float32),
        "model.layers.0.mlp.experts.0.up_proj.weight": np.zeros((12, 8), np.float32),
        "model.layers.0.mlp.experts.1.up_proj.weight": np.zeros((12, 8), np.float32),
        "model.layers.0.input_layernorm.weight": np.zeros((8,), np.float32),
    }
    save_file(tensors, target / "model.safetensors")
    return target


def test_shape_counts_every_parameter_once_and_one_expert_stands_for_all(folder: Path) -> None:
    shape = read_shape(folder)
    assert shape.num_parameters == 80 + 64 + 96 + 96 + 8
    assert shape.is_tied
    assert shape.head_width == 4
    assert shape.linear_shapes == {"q_proj": (8, 8), "up_proj": (12, 8)}


def test_digest_follows_content_and_names_but_not_the_place(folder: Path, tmp_path: Path) -> None:
    before = compute_weights_digest(folder)
    elsewhere = shutil.copytree(folder, tmp_path / "elsewhere")
    (elsewhere / "README.md").write_text("notes do not count")
    assert compute_weights_digest(elsewhere) == before
    (elsewhere / "config.json").write_text(json.dumps({**CONFIG, "vocab_size": 11}))
    assert compute_weights_digest(elsewhere) != before


def test_a_plain_folder_is_safe(folder: Path) -> None:
    check_safe(folder)
    assert set(read_tensor_shapes(folder)) >= {"model.embed_tokens.weight"}


@pytest.mark.parametrize("name", ["pytorch_model.bin", "weights.pt", "a/optimizer.pkl", "modeling_x.py", "kernel.so"])
def test_what_could_run_code_is_refused_by_name(folder: Path, name: str) -> None:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x")
    with pytest.raises(ModelError) as caught:
        check_safe(folder)
    problem = caught.value.problems[0]
    assert problem.code == "E-MOD-001"
    assert problem.got == name
    assert problem.fix
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "extra",
    [
        {"auto_map": {"AutoModel": "modeling.Model"}},
        {"_attn_implementation_internal": "somebody/kernels"},
        {"text_config": {"attn_implementation": "somebody/kernels"}},
    ],
)
def test_a_configuration_that_names_code_is_refused(folder: Path, extra: dict[str, object]) -> None:
    (folder / "config.json").write_text(json.dumps({**CONFIG, **extra}))
    with pytest.raises(ModelError, match="E-MOD-001"):
        check_safe(folder)


def test_a_truncated_weight_file_is_named(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ModelError, match=r"E-MOD-002.*damaged"):
        read_shape(folder)


def test_a_header_of_rubbish_is_an_error_not_a_traceback(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(ModelError, match="E-MOD-002"):
        read_shape(folder)


@pytest.mark.parametrize("text", ["", "[1, 2]", "{", "\x00"])
def test_a_configuration_that_is_no_object_is_an_error(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(ModelError, match="E-MOD-002"):
        read_shape(folder)


def test_a_missing_folder_and_a_folder_without_weights_are_errors(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model folder"):
        check_safe(tmp_path / "nowhere")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="no safetensors"):
        check_safe(folder)


@pytest.mark.parametrize(
    ("wrong", "tensor"),
    [
        ({"hidden_size": 16, "head_dim": 4}, "model.embed_tokens.weight of shape [10, 8]"),
        ({"vocab_size": 12}, "model.embed_tokens.weight of shape [10, 8]"),
        ({"num_attention_heads": 4, "head_dim": 4}, "model.layers.0.self_attn.q_proj.weight of shape [8, 8]"),
        ({"num_hidden_layers": 2}, "1 blocks"),
    ],
)
def test_a_configuration_of_other_weights_is_refused_by_the_headers_alone(
    folder: Path, wrong: dict[str, int], tensor: str
) -> None:
    """Transformers would refuse these at training, or make up the second block without a word."""
    (folder / "config.json").write_text(json.dumps({**CONFIG, **wrong}))
    with pytest.raises(ModelError) as caught:
        read_shape(folder)
    [problem] = caught.value.problems
    assert problem.code == "E-MOD-002"
    assert tensor in problem.got
    assert problem.field in {*wrong, "num_attention_heads times head_dim"}
    assert problem.origin.endswith("config.json")
    assert problem.fix


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_configuration_and_weights_of_real_architectures_agree(architecture: str, tmp_path: Path) -> None:
    assert read_shape(build_tiny(architecture, tmp_path / architecture)).num_layers == 3


def test_the_query_of_gated_attention_may_be_twice_as_wide(folder: Path) -> None:
    """Qwen3-Next keeps query and gate in one matrix."""
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.0.self_attn.q_proj.weight"] = np.zeros((16, 8), np.float32)
    save_file(tensors, folder / "model.safetensors")
    assert read_shape(folder).linear_shapes["q_proj"] == (16, 8)
