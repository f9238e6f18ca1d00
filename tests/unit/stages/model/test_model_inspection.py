"""`model check` says what lies at a path without loading it, and what in it should not be there."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from luthier.api.models import check_model
from luthier.foundation.core.errors import ModelError
from luthier.stages.model.folder import check_safe, check_writes, find_kind
from luthier.stages.model.gguf_convert import convert_gguf
from luthier.stages.model.inspection import inspect
from tests.fixtures.tiny_gguf import FEED_FORWARD, LAYERS, WIDTH, make_vocabulary, write_tiny_gguf


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole tiny model."""
    write_tiny_gguf(tmp_path / "tiny.gguf")
    target = tmp_path / "tiny"
    target.mkdir()
    convert_gguf(tmp_path / "tiny.gguf", target)
    return target


def count_by_hand() -> int:
    """Two norms and seven matrices a layer, one embedding, one last norm; half as many key-value heads as heads."""
    layer = 2 * WIDTH + 2 * WIDTH * WIDTH + 2 * WIDTH * (WIDTH // 2) + 3 * WIDTH * FEED_FORWARD
    return LAYERS * layer + len(make_vocabulary()[0]) * WIDTH + WIDTH


def test_a_folder_tells_its_size_formats_tokenizer_and_template(folder: Path) -> None:
    found = inspect(folder)
    assert (found.kind, found.form, found.architecture) == ("base", "folder", "LlamaForCausalLM")
    assert found.num_parameters == count_by_hand()
    assert found.formats == {"F32": count_by_hand()}
    assert found.vocabulary == len(make_vocabulary()[0])
    assert (found.has_chat_template, found.why_no_base, found.is_safe, found.oddities) == (True, "", True, ())


def test_a_gguf_file_tells_the_same_without_being_converted(folder: Path) -> None:
    found = inspect(folder.parent / "tiny.gguf")
    assert (found.kind, found.form, found.architecture, found.why_no_base) == ("base", "gguf", "llama", "")
    assert (found.num_parameters, found.vocabulary) == (count_by_hand(), len(make_vocabulary()[0]))
    assert found.formats == {"F32": 2 + 9 * LAYERS}
    write_tiny_gguf(folder.parent / "other.gguf", architecture="mamba", licence="apache-2.0")
    other = inspect(folder.parent / "other.gguf")
    assert "mamba" in other.why_no_base
    assert (found.licence, other.licence) == ("", "apache-2.0")


def test_a_verdict_names_the_option_that_settles_it(folder: Path) -> None:
    plain, licensed = folder.parent / "tiny.gguf", folder.parent / "licensed.gguf"
    write_tiny_gguf(licensed, licence="apache-2.0")
    (problem,) = check_model(str(plain))["problems"]
    assert (problem["code"], problem["fix"]) == ("E-MOD-008", f"luthier model check {plain} --license SPDX")
    (problem,) = check_model(str(plain), license="CC-BY-NC-4.0")["problems"]
    assert (problem["code"], problem["fix"]) == ("E-MOD-007", f"luthier model check {plain} --use research")
    found = check_model(str(licensed))
    assert (found["may_be_used"], found["licence"]["licence"], found["problems"]) == (True, "Apache-2.0", [])


def test_mixed_formats_are_counted_by_weights_and_buffers_are_none(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"] = tensors["model.norm.weight"].astype(np.float16)
    tensors["position_ids"] = np.arange(7)
    save_file(tensors, folder / "model.safetensors")
    found = inspect(folder)
    assert found.formats == {"F32": count_by_hand() - WIDTH, "F16": WIDTH}
    assert found.num_parameters == count_by_hand()


def test_an_embedding_model_is_told_by_layout_or_class_and_is_no_base(folder: Path) -> None:
    assert find_kind(folder) == "base"
    (folder / "modules.json").write_text("[]")
    found = inspect(folder)
    assert (found.kind, found.why_no_base) == ("embedding", "it embeds sentences")
    (folder / "modules.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["BertModel"]}))
    with pytest.raises(ModelError) as caught:
        check_writes(folder)
    problem = caught.value.problems[0]
    assert (problem.code, problem.field, caught.value.exit_code) == ("E-MOD-010", "model.base", 2)
    assert "BertModel" in problem.got
    assert problem.allowed
    assert problem.fix
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["GPT2LMHeadModel"]}))
    assert find_kind(folder) == "base"


def test_an_adapter_names_what_it_stands_on(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": "b"}))
    with pytest.raises(ModelError, match=r"E-MOD-002[\s\S]*adapter_model"):
        inspect(tmp_path)
    save_file({"a": np.zeros((4, 2), np.float32)}, tmp_path / "adapter_model.safetensors")
    found = inspect(tmp_path)
    assert (found.kind, found.architecture, found.stands_on, found.num_parameters) == ("adapter", "lora", "b", 8)


def test_what_only_looks_odd_is_told_but_what_could_run_is_unsafe(folder: Path) -> None:
    (folder / "notes.xyz").write_text("nobody needs this")
    (folder.parent / "outside.json").write_text("{}")
    (folder / "vocab.json").symlink_to(folder.parent / "outside.json")
    found = inspect(folder)
    assert [(oddity.name, oddity.is_unsafe) for oddity in found.oddities] == [
        ("notes.xyz", False),
        ("vocab.json", False),
    ]
    assert found.is_safe
    (folder / "modeling_x.py").write_text("")
    assert not inspect(folder).is_safe


@pytest.mark.parametrize("kind", ["pickle", "archive"])
def test_a_pickle_under_an_innocent_name_is_found(folder: Path, kind: str) -> None:
    path = folder / "training_args.txt"
    if kind == "pickle":
        path.write_bytes(pickle.dumps({"x": 1}))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("data.pkl", pickle.dumps({}))
    assert not inspect(folder).is_safe
    with pytest.raises(ModelError, match=r"E-MOD-001[\s\S]*training_args.txt"):
        check_safe(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_damaged_file_is_an_error_that_names_it(folder: Path, name: str) -> None:
    path = folder / name
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ModelError) as caught:
        inspect(folder)
    assert caught.value.exit_code == 2
    assert name in caught.value.problems[0].render()


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF\x03\x00\x00\x00" + b"\xff" * 16, b"not a model at all"])
def test_a_file_that_is_no_gguf_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.gguf").write_bytes(content)
    with pytest.raises(ModelError) as caught:
        inspect(tmp_path / "m.gguf")
    assert (caught.value.code, caught.value.exit_code) == ("E-MOD-002", 2)


def test_what_is_not_there_or_ambiguous_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="E-MOD-002"):
        inspect(tmp_path / "nothing")
    for name in ("a.gguf", "b.gguf"):
        write_tiny_gguf(tmp_path / name)
    with pytest.raises(ModelError, match=r"E-MOD-004[\s\S]*several GGUF"):
        inspect(tmp_path)


def test_looking_never_loads_torch(folder: Path) -> None:
    """A process of its own, for other tests of this one have loaded it long since."""
    script = (
        "import sys; from luthier.api.models import check_model; "
        f"found = check_model({str(folder)!r}, license='MIT'); "
        "assert found['is_safe'] and found['may_be_used']; "
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
