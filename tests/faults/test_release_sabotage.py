"""`luthier release certify` on bundles that were tampered with, and releases that may not be loaded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from luthier.cli.main import main
from luthier.foundation.core.hashing import sha256_json
from luthier.stages.deploy.layout import to_bytes
from tests.fixtures.release_sabotage import RELEASE_SABOTAGE
from tests.fixtures.sealed_release import Sealed, seal_release, served_in_process
from tests.fixtures.tiny_models import build_tiny

QUESTION = {"messages": [{"role": "user", "content": "where is my card"}]}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Sealed:
    return seal_release(tmp_path_factory.mktemp("sabotage"))


@pytest.fixture
def sealed(made: Sealed, tmp_path: Path) -> Iterator[Sealed]:
    """The release, put back as it was after each test."""
    shutil.copytree(made.folder, tmp_path / "whole")
    yield made
    shutil.rmtree(made.folder)
    shutil.copytree(tmp_path / "whole", made.folder)


def call(sealed: Sealed, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, object]]:
    """Run the command line in this process and return its exit code and its JSON."""
    with served_in_process(sealed.parts), pytest.raises(SystemExit) as ended:
        main([*words, "--json", "--workspace", str(sealed.root)])
    assert isinstance(ended.value.code, int)
    return ended.value.code, json.loads(capsys.readouterr().out)


def test_a_whole_release_is_certified_again(sealed: Sealed, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = call(sealed, capsys, "release", "certify", "desk")

    assert code == 0
    assert found["certificate"] == sealed.release.identity.certificate.model_dump(mode="json")


@pytest.mark.parametrize("name", RELEASE_SABOTAGE)
def test_sabotage_exits_with_3_and_names_the_step(
    sealed: Sealed, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    spoil, step, reason = RELEASE_SABOTAGE[name]
    spoil({form: sealed.folder / form for form in ("adapter", "merged")}, tmp_path)

    code, found = call(sealed, capsys, "release", "certify", "desk")

    problem = found["error"]["problems"][0]
    assert code == 3
    assert (problem["code"], problem["field"]) == ("E-DEP-001", step)
    assert f"step {step!r}" in problem["what"]
    assert reason in problem["got"]
    assert problem["allowed"]
    assert problem["fix"]


def test_bytes_that_change_no_answer_are_still_not_the_release(
    sealed: Sealed, capsys: pytest.CaptureFixture[str]
) -> None:
    card = sealed.folder / "card.md"
    card.write_text(card.read_text().replace("tiny", "huge"))

    for command in ("certify", "verify"):
        code, found = call(sealed, capsys, "release", command, "desk")
        assert code == 3
        assert found["error"]["problems"][0]["code"] == "E-DEP-008"
        assert found["error"]["problems"][0]["field"] == "card.md"


def test_a_changed_release_is_not_loaded(sealed: Sealed, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps(QUESTION) + "\n")
    path = sealed.folder / "adapter" / "adapter_config.json"
    path.write_text(path.read_text().replace('"r": 4', '"r": 2'))

    code, found = call(sealed, capsys, "generate", "release:desk", "--data", str(rows))

    assert code == 3
    assert found["error"]["problems"][0]["field"] == "adapter/adapter_config.json"


def test_a_release_of_another_base_is_not_loaded_and_the_right_one_is(
    sealed: Sealed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps(QUESTION) + "\n")
    words = ("generate", "release:desk", "--data", str(rows), "--max-new-tokens", "4")
    code, found = call(sealed, capsys, *words)
    assert code == 0
    assert len(found["answers"]) == 1

    base = sealed.parts.trained.base_folder
    shutil.copytree(base, tmp_path / "base")
    build_tiny("llama", base, seed=8, hidden_size=32, intermediate_size=48, num_hidden_layers=2)
    try:
        code, found = call(sealed, capsys, *words)
        assert code == 2
        assert found["error"]["problems"][0]["code"] == "E-ENG-005"
        code, found = call(sealed, capsys, "release", "certify", "desk")
        assert code == 3
        assert "E-DEP-002" in found["error"]["problems"][0]["got"]
    finally:
        shutil.rmtree(base)
        shutil.copytree(tmp_path / "base", base)


def test_an_export_is_complete_and_overwrites_nothing(
    sealed: Sealed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "mine"
    words = ("release", "export", "desk", "--format", "adapter", "--to", str(target))
    code, _ = call(sealed, capsys, *words)
    assert code == 0
    assert {"adapter_model.safetensors", "chat_template.jinja", "README.md", "licences"} <= {
        path.name for path in target.iterdir()
    }

    before = sorted(target.rglob("*"))
    code, found = call(sealed, capsys, *words)
    assert (code, found["error"]["problems"][0]["code"]) == (2, "E-DEP-011")
    assert sorted(target.rglob("*")) == before

    code, found = call(sealed, capsys, "release", "export", "desk", "--format", "gguf", "--to", str(tmp_path / "new"))
    assert (code, found["error"]["problems"][0]["code"]) == (2, "E-DEP-010")
    assert not (tmp_path / "new").exists()


def test_a_missing_folder_is_told_from_an_unknown_name(
    sealed: Sealed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sealed.folder.rename(tmp_path / "away")
    try:
        code, found = call(sealed, capsys, "release", "verify", "desk")
        assert (code, found["error"]["problems"][0]["code"]) == (4, "E-DEP-009")
    finally:
        (tmp_path / "away").rename(sealed.folder)

    for text in ("nobody", "desk@00000000", sealed.release.digest[:7]):
        code, found = call(sealed, capsys, "release", "show", text)
        assert (code, found["error"]["problems"][0]["code"]) == (2, "E-DEP-007"), text
    for text in ("desk", sealed.release.digest[:8], f"desk@{sealed.release.digest[:9]}", str(sealed.folder)):
        code, found = call(sealed, capsys, "release", "show", text)
        assert (code, found["digest"]) == (0, sealed.release.digest), text
    assert call(sealed, capsys, "release", "list")[1]["releases"][0]["name"] == "desk"


def test_an_identity_that_was_rewritten_to_fit_itself_is_refused_by_name_and_by_path(
    sealed: Sealed, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who rewrites release.json can also write its new digest into it, but not into the record or the folder's name."""
    path = sealed.folder / "release.json"
    shown = json.loads(path.read_bytes())
    shown["identity"]["override"] = "nobody had to"
    shown["digest"] = sha256_json({name: shown[name] for name in ("kind", "schema_version", "identity")})
    path.write_bytes(to_bytes(shown))

    code, found = call(sealed, capsys, "release", "verify", "desk")
    assert (code, found["error"]["problems"][0]["field"]) == (3, "release.json")
    code, found = call(sealed, capsys, "release", "verify", str(sealed.folder))
    assert (code, found["error"]["problems"][0]["code"]) == (2, "E-DEP-007")
