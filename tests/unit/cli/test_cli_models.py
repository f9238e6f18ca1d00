"""Commands on models: what is here, what is safe, answers and comparisons from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.cli.failures import run_guarded
from luthier.cli.main import luthier


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.fixtures.tiny_models import build_tiny

    return build_tiny("llama", tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    lines = [
        {"messages": [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": f"a{n}"}]}
        for n in range(6)
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def call_json(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    assert run_guarded(luthier, [*words, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_the_catalogue_is_listed_and_an_absent_base_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path))
    listed = {model["name"]: model for model in call_json(capsys, "model", "list")["models"]}
    assert list(listed) == ["smollm2-135m-instruct", "smollm2-135m-instruct@hub", "all-minilm-l6-v2"]
    assert {model["is_here"] for model in listed.values()} == {False}
    assert [model["kind"] for model in listed.values()] == ["base", "base", "embedding"]
    assert run_guarded(luthier, ["model", "list"]) == 0
    assert "not pulled" in capsys.readouterr().out
    assert call_json(capsys, "model", "show", "smollm2-135m-instruct")["licence"] == "Apache-2.0"
    assert run_guarded(luthier, ["model", "show", "smollm2-135m-instruct"]) == 0
    assert "Apache-2.0" in capsys.readouterr().out
    error = call_json(capsys, "model", "check", "smollm2-135m-instruct", code=4)["error"]
    assert error["problems"][0]["fix"] == "luthier model pull smollm2-135m-instruct"
    error = call_json(capsys, "model", "pull", "no-such-base", code=2)["error"]
    assert error["problems"][0]["code"] == "E-MOD-004"


def test_a_folder_is_judged_and_a_denied_licence_exits_with_3(tiny: Path, capsys: pytest.CaptureFixture[str]):
    found = call_json(capsys, "model", "check", str(tiny), "--license", "MIT")
    assert (found["is_safe"], found["licence"]["verdict"]) == (True, "allowed")
    assert run_guarded(luthier, ["model", "check", str(tiny), "--license", "MIT"]) == 0
    assert "no code, no pickles" in capsys.readouterr().out
    found = call_json(capsys, "model", "check", str(tiny), code=3)
    assert (found["is_safe"], found["may_be_used"]) == (True, False)
    assert [problem["code"] for problem in found["problems"]] == ["E-MOD-008"]


def test_answers_go_to_stdout_or_whole_into_a_file(
    tiny: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = ["generate", str(tiny), "--data", str(rows), "--rows", "2", "--max-new-tokens", "3"]
    answers = call_json(capsys, *words, "--workspace", str(tmp_path))["answers"]
    assert [answer["reference"] for answer in answers] == ["a0", "a1"]
    assert run_guarded(luthier, [*words, "--workspace", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line) for line in lines] == answers
    target = tmp_path / "answers.jsonl"
    written = call_json(capsys, *words, "--output", str(target))
    assert written["num_rows"] == 2
    assert [json.loads(line) for line in target.read_text().splitlines()] == answers


def test_a_comparison_is_told_in_words(tiny: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = ["compare", str(tiny), str(tiny), "--data", str(rows), "--max-new-tokens", "2", "--metric", "token_f1"]
    assert run_guarded(luthier, [*words, "--workspace", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "no difference is shown" in out
    assert "better on 0 questions, worse on 0" in out


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"text": "plain"}', "asks nothing"),
        ('{"messages": [{"role": "system", "content": "s"}, {"role": "assistant", "content": "a"}]}', "asks nothing"),
        ("{broken", "rows.jsonl line 1"),
        ("", "no rows"),
    ],
)
def test_rows_that_cannot_be_asked_are_refused_before_a_model_is_loaded(
    line: str, told: str, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{line}\n" if line else "")
    assert run_guarded(luthier, ["generate", str(tiny / "nothing"), "--data", str(path)]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("ref", ["release:x", "https://host/v1", "run:ffff", "no-such-model", "./nowhere"])
def test_a_reference_that_names_nothing_is_wrong_usage(
    ref: str, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = ["generate", ref, "--data", str(rows), "--workspace", str(tmp_path)]
    error = call_json(capsys, *words, code=2)["error"]
    assert error["problems"][0]["code"] in {"E-LIF-007", "E-LIF-008", "E-LIF-010", "E-DEP-007"}
    assert not (tmp_path / ".luthier").exists()


def test_a_file_that_is_no_gguf_is_refused(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    words = ["generate", str(tmp_path / "m.gguf"), "--data", str(rows), "--workspace", str(tmp_path)]
    assert call_json(capsys, *words, code=2)["error"]["problems"][0]["code"] == "E-MOD-002"


def test_rows_are_shown_with_masks_from_the_command_line(tiny: Path, rows: Path, capsys: pytest.CaptureFixture[str]):
    shown = call_json(capsys, "data", "show", str(rows), "--rows", "1", "--masks", "--base", str(tiny))["rows"]
    assert shown[0]["num_trained"] > 0
    assert run_guarded(luthier, ["data", "show", str(rows), "--rows", "1", "--masks", "--base", str(tiny)]) == 0
    assert "«a0" in capsys.readouterr().out
    assert call_json(capsys, "data", "show", str(rows), "--rows", "2")["rows"][1]["messages"][0]["content"] == "q1"
