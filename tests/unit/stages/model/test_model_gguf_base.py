"""A GGUF file is a base like any other: converted once, by content, beside the models that were pulled."""

from __future__ import annotations

from pathlib import Path

import gguf as gguf_package
import numpy as np
import pytest
from gguf import GGMLQuantizationType

from luthier.foundation.core.errors import LicenceError, ModelError, StoreError
from luthier.foundation.core.hashing import sha256_file
from luthier.foundation.core.progress import SilentProgress
from luthier.foundation.schema.sections import GovernSection, ModelSection
from luthier.stages.model import gguf_convert
from luthier.stages.model import pull as pull_module
from luthier.stages.model.cache import list_cached, read_origin
from luthier.stages.model.gguf_file import open_gguf
from luthier.stages.model.pull import convert_once, pull
from luthier.stages.model.stage import fingerprint, locate_base, run
from tests.fixtures.stage_contexts import SectionContext
from tests.fixtures.tiny_gguf import write_tiny_gguf


@pytest.fixture
def gguf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "files" / "Tiny Model.Q8.gguf"
    path.parent.mkdir()
    write_tiny_gguf(path, licence="apache-2.0")
    return path


def find(base: Path | str, tmp_path: Path) -> Path:
    return locate_base(str(base), base_folder=tmp_path, environment={"LUTHIER_CACHE": str(tmp_path / "cache")})


def test_a_file_is_converted_once_and_its_digest_is_in_the_name(
    gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = find(gguf, tmp_path)
    assert folder.name.startswith(f"Tiny-Model.Q8-{sha256_file(gguf)[:12]}@")
    origin = read_origin(folder)
    assert origin is not None
    assert (origin.gguf, origin.gguf_sha256, origin.licence) == (gguf.name, sha256_file(gguf), "apache-2.0")
    monkeypatch.setattr(pull_module, "convert_gguf", lambda *_, **__: pytest.fail("converted twice"))
    assert find(gguf, tmp_path) == folder
    assert pull(str(gguf), cache=tmp_path / "cache" / "models", progress=SilentProgress()) == folder
    assert find(gguf.parent, tmp_path) == folder, "a folder with one GGUF file means that file"
    assert find(origin.name, tmp_path) == folder, "an adapter names its base by this name"
    moved = gguf.rename(tmp_path / gguf.name)
    assert find(moved, tmp_path) == folder
    assert {path.name for path in (tmp_path / "cache" / "models").iterdir()} == {f"{origin.name}.lock", folder.name}


def test_another_content_under_the_same_name_is_another_base(gguf: Path, tmp_path: Path) -> None:
    first = find(gguf, tmp_path)
    write_tiny_gguf(gguf, quantised="Q8_0")
    assert find(gguf, tmp_path) != first
    assert len(list_cached(tmp_path / "cache" / "models")) == 2


def test_a_damaged_conversion_is_made_again(gguf: Path, tmp_path: Path) -> None:
    folder = find(gguf, tmp_path)
    (folder / "config.json").write_text("{}")
    with pytest.raises(StoreError, match="E-MOD-005"):
        find(folder.name, tmp_path)
    assert find(gguf, tmp_path) == folder
    assert (folder / "config.json").stat().st_size > 2


def test_the_stage_records_the_file_and_its_licence_and_the_key_sees_content(gguf: Path, tmp_path: Path) -> None:
    section = ModelSection(base=str(gguf))
    ctx = SectionContext(tmp_path, sections={"govern": GovernSection(use="commercial")})
    choice = run(section, {}, ctx)
    assert choice.witness.origin == f"GGUF file {gguf.name}"
    assert choice.identity.licence.licence == "Apache-2.0"
    before = fingerprint(section, ctx)
    moved = gguf.rename(tmp_path / gguf.name)
    assert fingerprint(ModelSection(base=str(moved)), ctx) == before


def test_a_file_without_a_licence_must_be_given_one(gguf: Path, tmp_path: Path) -> None:
    write_tiny_gguf(gguf)
    ctx = SectionContext(tmp_path, sections={"govern": GovernSection(use="commercial")})
    with pytest.raises(LicenceError, match="E-MOD-008"):
        run(ModelSection(base=str(gguf)), {}, ctx)
    assert run(ModelSection(base=str(gguf), license="MIT"), {}, ctx).identity.licence.licence == "MIT"


def test_a_number_format_that_nobody_dequantises_is_refused_and_leaves_nothing(
    gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(data: object, kind: GGMLQuantizationType) -> np.ndarray:
        raise NotImplementedError(kind)

    monkeypatch.setattr(gguf_convert, "dequantize", unknown)
    with pytest.raises(ModelError, match=r"E-MOD-003[\s\S]*F32 of token_embd.weight"):
        convert_once(gguf, cache=tmp_path / "cache", progress=SilentProgress())
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_a_truncated_file_is_damaged(gguf: Path) -> None:
    gguf.write_bytes(gguf.read_bytes()[:-1000])
    with pytest.raises(ModelError, match="E-MOD-002"):
        open_gguf(gguf)


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_tensor_names_are_those_of_llama_cpps_own_table(architecture: str, tmp_path: Path) -> None:
    """The package gguf carries the table by which llama.cpp's converter names transformers' tensors."""
    write_tiny_gguf(tmp_path / "tiny.gguf", architecture=architecture)
    file = open_gguf(tmp_path / "tiny.gguf")
    table = gguf_package.get_tensor_name_map(gguf_package.MODEL_ARCH[architecture.upper()], 2)
    ours = {gguf_convert.translate_name(file, tensor.name): tensor.name for tensor in file.tensors}
    assert len(ours) == len(file.tensors)
    assert {name: table.get_name(name, try_suffixes=(".weight", ".bias")) for name in ours} == ours
