"""``serve`` and ``chat``: which models under which names, what is refused before it is loaded, turns line by line."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from luthier.api import serve as api
from luthier.cli.failures import run_guarded
from luthier.cli.main import luthier
from luthier.foundation.core.model_files import compute_weights_digest
from luthier.lifecycle.references import Reference
from luthier.server import process
from tests.fixtures.served_models import ask, read_ids, write_adapter, write_base


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("served")
    base = write_base(folder / "base")
    digest = compute_weights_digest(base)
    adapters = {
        name: write_adapter(base, folder / name, seed=n, digest=digest) for n, name in enumerate(("one", "two"))
    }
    return {"base": base, **adapters}


def _refused(capsys: pytest.CaptureFixture[str], *words: str, code: int) -> str:
    assert run_guarded(luthier, [*words, "--json"]) == code
    (problem,) = json.loads(capsys.readouterr().out)["error"]["problems"]
    assert problem["what"]
    assert problem["got"]
    assert problem.get("allowed") or problem["needs"]
    assert problem["fix"]
    return str(problem["code"])


def test_each_reference_has_its_name_and_one_base_is_loaded_once(folders: dict[str, Path], tmp_path: Path) -> None:
    runtime: Any = api.open_runtime([str(folder) for folder in folders.values()], workspace=tmp_path)
    assert [model.name for model in runtime.models()] == ["base", "one", "two"]
    assert len({model.digest for model in runtime.models()}) == 3
    assert {model.max_positions for model in runtime.models()} == {512}
    assert len(runtime._shelf.bases) == 1
    answers = {read_ids(runtime.submit(ask("hello", name, max_tokens=6))) for name in folders}
    assert len(answers) == 3
    runtime.close(drain_seconds=5)


@pytest.mark.parametrize(
    ("ref", "release", "expected"),
    [
        ("release:desk", "desk", "desk"),
        ("release:desk@0123456789ab", "desk", "desk@0123456789ab"),
        ("release:0123456789ab", "desk", "desk"),
        (".", "desk", "desk"),
        ("base", "", "smollm2-135m-instruct"),
        ("run:0123456789ab", "", "run:0123456789ab"),
    ],
)
def test_requests_name_a_model_as_a_person_would(ref: str, release: str, expected: str, tmp_path: Path) -> None:
    base = "smollm2-135m-instruct"
    assert api._name(Reference(ref=ref, kind="adapter", base=base, base_folder=tmp_path, name=release)) == expected


def test_the_command_hands_runtime_and_options_to_the_server_and_says_one_line(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: dict[str, Any] = {}

    def serve_http(runtime: Any, options: process.ServerOptions, *, workspace: Path, listener: Any) -> None:
        seen.update(options=options, workspace=workspace, port=listener.getsockname()[1])
        options.announce("http://127.0.0.1:1/v1")
        listener.close()
        runtime.close(drain_seconds=0)

    monkeypatch.setattr(process, "serve_http", serve_http)
    monkeypatch.setenv("KEYS", "first, second")
    words = ["serve", str(folders["one"]), "--port", "0", "--workspace", str(tmp_path), "--api-key-env", "KEYS"]
    assert run_guarded(luthier, [*words, "--keep-content", "--until-stdin-closes", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {"url": "http://127.0.0.1:1/v1", "models": ["one"]}
    options = seen["options"]
    assert options.api_keys == ("first", "second")
    assert (options.keep_content, options.until_stdin_closes, seen["workspace"]) == (True, True, tmp_path)
    assert seen["port"] > 0


def test_what_cannot_be_served_is_refused(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--port", "0", "--workspace", str(tmp_path))
    base = str(folders["base"])
    assert _refused(capsys, "serve", *where, code=2) == "E-SRV-009"
    assert _refused(capsys, "serve", base, base, *where, code=2) == "E-SRV-008"
    assert _refused(capsys, "serve", base, *where, "--host", "0.0.0.0", code=2) == "E-SRV-029"  # noqa: S104  refused
    assert _refused(capsys, "serve", base, *where, "--api-key-env", "NOT_THERE", code=4) == "E-SRV-010"
    monkeypatch.setenv("EMPTY", " , ")
    assert _refused(capsys, "serve", base, *where, "--api-key-env", "EMPTY", code=4) == "E-SRV-010"
    assert _refused(capsys, "serve", "no-such-model", *where, code=2) == "E-LIF-007"
    assert _refused(capsys, "chat", "run:0000", "--workspace", str(tmp_path), code=2) == "E-LIF-007"


def test_an_adapter_of_other_weights_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = write_base(tmp_path / "base")
    adapter = write_adapter(base, tmp_path / "adapter", seed=1, digest="cd" * 32)
    words = ("serve", str(adapter), "--port", "0", "--workspace", str(tmp_path))
    assert _refused(capsys, *words, code=2) == "E-ENG-005"


def _chat(monkeypatch: pytest.MonkeyPatch, lines: str, *words: str) -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    return run_guarded(luthier, ["chat", *words])


def test_a_chat_keeps_its_history_until_it_is_reset(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (str(folders["one"]), "--workspace", str(tmp_path), "--max-tokens", "5")
    assert _chat(monkeypatch, "hello\n\nhello\n/reset\nhello\n/exit\nnever read\n", *words, "--json") == 0
    first, second, third = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert first == third
    assert first["answer"] != second["answer"], "the second turn has a history"
    assert (first["finish_reason"], first["num_tokens"]) == ("length", 5)
    assert _chat(monkeypatch, "hello\n", *words) == 0
    assert capsys.readouterr().out == first["answer"] + "\n"
    assert _chat(monkeypatch, "hello\n", *words, "--system", "speak of cards", "--json") == 0
    assert json.loads(capsys.readouterr().out)["answer"] != first["answer"]
