"""The base is found, judged by its licence, and recorded by content, not by place."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from luthier.foundation.core.errors import EnvironmentLacks, LicenceError, ModelError
from luthier.foundation.schema.sections import GovernSection, ModelSection
from luthier.stages.model.stage import fingerprint, locate_base, refresh, run
from tests.fixtures.stage_contexts import SectionContext
from tests.fixtures.tiny_models import END_TOKEN, build_tiny


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny("llama", tmp_path_factory.mktemp("base") / "tiny")


def make_context(folder: Path, use: str = "commercial") -> SectionContext:
    return SectionContext(folder, sections={"govern": GovernSection(use=use)})


def make_section(base: Path, **changes: Any) -> ModelSection:
    return ModelSection(base=str(base), **{"license": "Apache-2.0", **changes})


def test_a_local_folder_is_recorded_with_shape_licence_and_tool_template(base: Path, tmp_path: Path) -> None:
    ctx = make_context(tmp_path)
    choice = run(make_section(base), {}, ctx)
    assert choice.identity.name == "tiny"
    assert choice.identity.licence.verdict == "allowed"
    assert choice.identity.end_token == END_TOKEN
    assert choice.identity.shape.num_layers == 3
    assert choice.witness.path == str(base)
    assert choice.witness.origin == "a local folder"
    template = ctx.blobs.get(choice.identity.chat_template).decode()
    assert choice.identity.tool_template in {"own", "chatml_tools"}
    assert "tool" in template


def test_a_moved_folder_is_the_same_base(base: Path, tmp_path: Path) -> None:
    ctx = make_context(tmp_path)
    moved = shutil.copytree(base, tmp_path / "elsewhere" / "tiny")
    first, second = run(make_section(base), {}, ctx), run(make_section(moved), {}, ctx)
    assert first.digest == second.digest
    assert fingerprint(make_section(base), ctx) == fingerprint(make_section(moved), ctx)
    assert refresh(first, make_section(moved), ctx).witness.path == str(moved)


def test_one_changed_weight_is_another_base(base: Path, tmp_path: Path) -> None:
    ctx = make_context(tmp_path)
    changed = shutil.copytree(base, tmp_path / "tiny")
    weights = bytearray((changed / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (changed / "model.safetensors").write_bytes(weights)
    assert run(make_section(base), {}, ctx).digest != run(make_section(changed), {}, ctx).digest


def test_a_licence_that_forbids_the_use_is_refused_with_exit_3(base: Path, tmp_path: Path) -> None:
    section = make_section(base, license="CC-BY-NC-4.0")
    with pytest.raises(LicenceError) as caught:
        run(section, {}, make_context(tmp_path))
    problem = caught.value.problems[0]
    assert (problem.code, caught.value.exit_code) == ("E-MOD-007", 3)
    assert problem.fix == "--set govern.use=research"
    assert problem.field == "govern.use"
    assert run(section, {}, make_context(tmp_path, use="research")).identity.licence.verdict == "allowed"


def test_an_unknown_licence_must_be_stated_for_commercial_use(base: Path, tmp_path: Path) -> None:
    with pytest.raises(LicenceError, match=r"E-MOD-008[\s\S]*model.license"):
        run(make_section(base, license=None), {}, make_context(tmp_path))
    assert run(make_section(base, license=None), {}, make_context(tmp_path, use="research"))
    assert run(make_section(base, license="LicenseRef-own"), {}, make_context(tmp_path))


def test_a_base_without_a_chat_template_is_refused(base: Path, tmp_path: Path) -> None:
    bare = shutil.copytree(base, tmp_path / "tiny")
    config = (bare / "tokenizer_config.json").read_text()
    (bare / "tokenizer_config.json").write_text(config.replace('"chat_template"', '"other"'))
    with pytest.raises(ModelError, match=r"E-MOD-009[\s\S]*chat_template.jinja"):
        run(make_section(bare), {}, make_context(tmp_path))


@pytest.mark.parametrize(("name", "code"), [("weights.bin", "E-MOD-001"), ("modeling.py", "E-MOD-001")])
def test_an_unsafe_folder_is_refused_before_anything_is_read(base: Path, tmp_path: Path, name: str, code: str) -> None:
    unsafe = shutil.copytree(base, tmp_path / "tiny")
    (unsafe / name).write_bytes(b"x")
    with pytest.raises(ModelError, match=code):
        run(make_section(unsafe), {}, make_context(tmp_path))


def test_bases_are_found_by_name_variable_and_relative_path(base: Path, tmp_path: Path) -> None:
    environment = {"MODELS": str(base.parent), "LUTHIER_CACHE": str(tmp_path)}
    assert locate_base("${MODELS}/tiny", base_folder=tmp_path, environment=environment) == base
    assert locate_base("tiny", base_folder=base.parent, environment=environment) == base
    with pytest.raises(ModelError, match="E-MOD-004"):
        locate_base("no-such-base", base_folder=tmp_path, environment=environment)
    with pytest.raises(EnvironmentLacks, match="E-ENV-002"):
        locate_base("${NOWHERE}/tiny", base_folder=tmp_path, environment=environment)
    with pytest.raises(EnvironmentLacks, match="E-ENV-005"):
        locate_base("smollm2-135m-instruct", base_folder=tmp_path, environment=environment)
