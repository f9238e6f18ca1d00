"""The tutorial: one shell runs its every block in order, on a tiny base, and on the real one where it was pulled."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"^```sh\n(.*?)^```", (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8"), re.M | re.S)
CORRIDOR = "run|plan|evaluate|train"
TINY = (
    *("model.base=${PLACE}/base", "model.license=MIT", "plan.probes=4", "plan.precision=fp32", "train.max_steps=2"),
    *("train.evaluations=0", "train.max_length=512", "evaluate.systems=[base, tuned]"),
    "evaluate.suites=[{type: task, on: test, metrics: [exact_match, macro_f1], max_questions: 3, max_new_tokens: 4}]",
)


def run_blocks(folder: Path, changes: tuple[str, ...], last: tuple[str, ...] = ()) -> str:
    """Run all blocks in one shell that stops at the first failure; return what was printed.

    Args:
        folder: Where the shell begins.
        changes: Added as ``--set`` to commands of the corridor: a tiny base learns nothing in two steps.
        last: Added after the page's own ``--set``.
    """
    place = folder / "bin"
    place.mkdir()
    before = " ".join(f'--set "{change}"' for change in changes)
    after = " ".join(f'--set "{change}"' for change in last)
    (place / "luthier").write_text(
        f'#!/bin/bash\nPLACE={folder}\nword=$1; shift\ncase "$word" in {CORRIDOR}) '
        f'exec {sys.executable} -m luthier "$word" "$1" {before} "${{@:2}}" {after} ;; esac\n'
        f'exec {sys.executable} -m luthier "$word" "$@"\n'
    )
    (place / "luthier").chmod(0o755)
    environment = {**os.environ, "PATH": f"{place}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    script = "set -e -o pipefail\n" + "\n".join(BLOCKS)
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def test_every_block_runs_on_a_tiny_base(tmp_path: Path):
    from tests.fixtures.tiny_models import build_tiny

    build_tiny("llama", tmp_path / "base", max_position_embeddings=2048)
    shown = run_blocks(tmp_path, TINY, last=("evaluate.gates=[]",))
    assert "release: library@" in shown
    assert "reused" in shown
    assert "classification: a model that names the right class" in shown


@pytest.mark.base
@pytest.mark.timeout(3000)
def test_every_block_runs_on_the_default_base_and_the_verdict_is_the_one_that_the_page_tells(tmp_path: Path):
    shown = run_blocks(tmp_path, ())
    assert "verdict: PASS" in shown
    assert "parity: PASS" in shown


def test_the_page_has_a_block_for_each_step():
    assert len(BLOCKS) >= 9
    for command in ("init", "recipe check", "data curate", "plan", "run", "chat", "release verify", "govern lineage"):
        assert any(f"luthier {command}" in block for block in BLOCKS), command
