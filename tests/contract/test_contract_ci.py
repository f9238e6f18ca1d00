"""The steps of .ci/run, with made-up tools: which run, what a failure does, and where it works."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STEPS = ["set-up", "test", "pull", "base", "slow", "format", "lint", "types", "contracts", "dependencies"]

MAKE = """#!/bin/sh
echo "make $*"
mkdir -p .venv/bin
for tool in luthier python lint-imports deptry; do
    printf '#!/bin/sh\\necho "%s $*"\\ncase "%s $*" in {failing}) exit {status} ;; esac\\n' $tool $tool \\
        > .venv/bin/$tool
    chmod +x .venv/bin/$tool
done
case "make $*" in {failing}) exit {status} ;; esac
"""


@pytest.fixture
def run_ci(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs .ci/run in a folder where one made-up tool fails."""
    clone = tmp_path / "clone"
    (clone / ".ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "run", clone / ".ci" / "run")
    shutil.copy(ROOT / "README.md", clone / "README.md")
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "prometheus").write_text("#!/bin/sh\n", encoding="utf-8")  # so that none is brought over the network
    (tools / "prometheus").chmod(0o755)

    def run(failing: str = "nothing", status: int = 1) -> subprocess.CompletedProcess[str]:
        shutil.rmtree(clone / ".venv", ignore_errors=True)
        (tools / "make").write_text(MAKE.format(failing=failing, status=status), encoding="utf-8")
        (tools / "make").chmod(0o755)
        return subprocess.run(
            [str(clone / ".ci" / "run")],
            env={"PATH": f"{tools}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def list_steps(output: str) -> list[str]:
    return [line.split()[1].rstrip(":") for line in output.splitlines() if line.startswith("===") and ": exit" in line]


def test_all_steps_run_in_order_with_the_readmes_own_command(
    run_ci: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = run_ci()

    assert done.returncode == 0, done.stdout + done.stderr
    assert list_steps(done.stdout) == STEPS
    assert "=== test: bash -c make test" in done.stdout
    assert "luthier model pull smollm2-135m-instruct" in done.stdout
    assert "python -m pytest -m base" in done.stdout
    assert done.stdout.endswith("all passed\n")


def test_a_step_that_fails_does_not_hide_the_others_and_is_named_last(
    run_ci: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = run_ci('"python -m pytest -m base"')

    assert done.returncode == 1
    assert list_steps(done.stdout) == STEPS
    assert done.stdout.splitlines()[-1] == "failed: base"


def test_a_marker_that_no_test_carries_is_no_failure(run_ci: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = run_ci('"python -m pytest -m slow"', status=5)

    assert done.returncode == 0
    assert "no test carries the marker slow yet" in done.stdout


def test_without_an_environment_nothing_else_is_tried(run_ci: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = run_ci('"make .venv"', status=4)

    assert done.returncode == 1
    assert list_steps(done.stdout) == ["set-up"]
