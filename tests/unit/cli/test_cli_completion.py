"""Completion: scripts that shells read, words that are right, and nothing heavy loaded while somebody types."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from luthier.cli.commands.completion import SHELLS
from luthier.cli.commands_table import GROUPS, ROOT
from luthier.cli.failures import run_guarded
from luthier.cli.main import luthier
from luthier.cli.options import STAGE_NAMES
from luthier.lifecycle.stages_table import STAGES


def complete(*words: str) -> list[str]:
    """Return what click would offer a shell for the last word."""
    from click.shell_completion import ShellComplete

    completer = ShellComplete(luthier, {}, "luthier", "_LUTHIER_COMPLETE")
    return [item.value for item in completer.get_completions(list(words[:-1]), words[-1])]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_is_printed_for_each_shell(shell: str, capsys: pytest.CaptureFixture[str]):
    assert run_guarded(luthier, ["completion", shell]) == 0
    script = capsys.readouterr().out
    assert f"_LUTHIER_COMPLETE={shell}_complete" in script
    assert run_guarded(luthier, ["completion", shell, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["script"].strip() == script.strip()
    path = shutil.which(shell)
    if path is not None:  # the shell itself finds no fault with it
        subprocess.run([path, "-n"], input=script, text=True, check=True)


def test_an_unknown_shell_is_wrong_usage(capsys: pytest.CaptureFixture[str]):
    assert run_guarded(luthier, ["completion", "cmd", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["problems"][0]["code"] == "E-REC-014"


def test_commands_groups_options_stages_and_files_are_offered():
    assert complete("") == list(ROOT)
    assert complete("mon") == ["monitor"]
    assert complete("data", "") == list(GROUPS["data"])
    assert complete("govern", "audit", "v") == ["verify"]
    assert "--until" in complete("run", "--")
    assert complete("run", "r.yaml", "--until", "e") == ["evaluate"]
    assert complete("run", "rec") == ["rec"], "of type file: the shell goes on"
    assert complete("completion", "z") == ["zsh"]


def test_the_stages_offered_are_the_stages_there_are():
    assert tuple(stage.name for stage in STAGES) == STAGE_NAMES


def test_completing_a_command_loads_no_command_and_no_tensors():
    program = (
        "import sys, luthier.cli.main as face\n"
        "try: face.main([])\n"
        "except SystemExit: pass\n"
        "loaded = [m for m in sys.modules if m.startswith('luthier.cli.commands.') or m in ('torch', 'pydantic')]\n"
        "print('LOADED', loaded)"
    )
    environment = {
        **os.environ,
        "_LUTHIER_COMPLETE": "zsh_complete",
        "COMP_WORDS": "luthier mo",
        "COMP_CWORD": "1",
    }
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    offered, _, loaded = done.stdout.partition("LOADED ")
    assert loaded.strip() == "[]"
    assert {"model", "monitor"} <= set(offered.split())


def test_bash_completes_as_somebody_types(tmp_path: Path):
    """The script in a real bash: its function is called as readline calls it."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash here")
    place = tmp_path / "luthier"
    place.write_text(f'#!/bin/sh\nexec {sys.executable} -m luthier "$@"\n')
    place.chmod(0o755)
    script = (
        'source <(luthier completion bash) || exit 1\nCOMP_WORDS=(luthier data "us"); COMP_CWORD=2\n'
        '_luthier_completion luthier\nprintf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        [bash, "--norc", "-c", script], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split() == ["used-by"]
