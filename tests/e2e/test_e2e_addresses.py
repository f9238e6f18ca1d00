"""A model behind an address answers as its files do: `luthier serve` as a process, asked by our own commands."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from luthier.api.compare import Comparing, compare
from luthier.api.generate import Generation, generate
from luthier.cli.failures import run_guarded
from luthier.cli.main import luthier
from tests.fixtures.stub_server import run_stub_server
from tests.fixtures.tiny_models import build_tiny


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    place = tmp_path_factory.mktemp("addresses")
    folder = build_tiny("llama", place / "tiny", seed=3)
    command = [sys.executable, "-m", "luthier", "serve", str(folder), "--port", "0", "--json", "--until-stdin-closes"]
    process = subprocess.Popen(
        [*command, "--workspace", str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        yield folder, f"{told['url']}#{told['models'][0]}"
    finally:
        process.kill()
        process.communicate(timeout=60)


def write_questions(path: Path) -> Path:
    words = ["card", "balance", "limit", "loan", "fee", "rate"]
    lines = [
        {"messages": [{"role": "user", "content": f"what is my {word}"}, {"role": "assistant", "content": word}]}
        for word in words
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_what_an_address_answers_is_what_the_files_answer(served: tuple[Path, str], tmp_path: Path) -> None:
    folder, ref = served
    rows = write_questions(tmp_path / "rows.jsonl")
    wanted = Generation(max_new_tokens=8)
    own = generate(str(folder), rows, workspace=tmp_path, generation=wanted)
    behind = generate(ref, rows, workspace=tmp_path, generation=wanted)
    assert [(one["id"], one["answer"], one["finish_reason"]) for one in behind] == [
        (one["id"], one["answer"], one["finish_reason"]) for one in own
    ]
    found = compare(ref, str(folder), rows, workspace=tmp_path, comparing=Comparing(["token_f1"], max_new_tokens=8))
    assert [(item["value"], item["p"]) for item in found["differences"]] == [(0.0, 1.0)]


def test_a_chat_behind_an_address_keeps_its_turns_and_its_key(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("DESK_KEY", "open-sesame")
    with run_stub_server(api_keys=["open-sesame"]) as (url, _):
        monkeypatch.setattr("sys.stdin", io.StringIO("one two\n"))
        words = ["chat", f"{url}#echo", "--workspace", str(tmp_path), "--api-key-env", "DESK_KEY"]
        assert run_guarded(luthier, [*words, "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {"answer": "one two", "finish_reason": "stop"}
        monkeypatch.setattr("sys.stdin", io.StringIO("one two\n"))
        assert run_guarded(luthier, [*words[:-2], "--json"]) == 4
        error = json.loads(capsys.readouterr().out)["error"]
    assert error["problems"][0]["code"] == "E-DEP-006"
    assert "open-sesame" not in json.dumps(error)
