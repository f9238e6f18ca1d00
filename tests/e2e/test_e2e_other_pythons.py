"""The rooms that need no torch work on every Python that we promise, not only on the one that runs this suite.

A version that is not found is skipped aloud. The index that pip is configured for brings the packages.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TENSORS = {"torch", "transformers", "peft", "accelerate"}
ORACLES = {"trl", "datasets", "sklearn", "statsmodels", "openai", "opentelemetry", "cryptography"}
ROOMS = [
    *("foundation", "examples", "instruments/text", "instruments/measure", "instruments/remote", "instruments/govern"),
    *("stages/monitor", "stages/model"),
]
TEST_PACKAGES = ("pytest", "pytest-timeout", "hypothesis")


def find_interpreter(version: str) -> str | None:
    """Return an interpreter that can make an environment, on the path or among those of pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [shutil.which(f"python{version}"), *(str(path) for path in sorted(pyenv.glob(f"{version}.*/bin/python")))]
    for candidate in found:
        if candidate and subprocess.run([candidate, "-c", "import venv"], capture_output=True).returncode == 0:
            return candidate
    return None


@cache
def list_imports(path: Path) -> frozenset[str]:
    """Return the top-level modules that a test file imports, by itself and through our own test files."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            ours = ROOT / (name.replace(".", "/") + ".py")
            found |= list_imports(ours) if name.startswith("tests.") and ours.is_file() else {name.partition(".")[0]}
            if name.startswith("luthier.instruments.engine"):
                found.add("torch")
    return frozenset(found)


def list_light_tests() -> Iterator[Path]:
    """List the unit tests of the torch-free rooms that need no oracle and no tensors themselves."""
    for room in ROOMS:
        for path in sorted((ROOT / "tests" / "unit" / room).rglob("test_*.py")):
            if not list_imports(path) & (TENSORS | ORACLES):
                yield path.relative_to(ROOT)


def list_requirements() -> list[str]:
    """List what the torch-free rooms need of pyproject's dependencies."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    light = [line for line in declared if re.split(r"[<>=]", line)[0] not in TENSORS]
    return [*light, *TEST_PACKAGES]


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_torch_free_rooms_pass_their_tests(version: str, tmp_path: Path) -> None:
    interpreter = find_interpreter(version)
    if interpreter is None:
        pytest.skip(f"Python {version} is not on this machine")
    chosen = [str(path) for path in list_light_tests()]
    assert len(chosen) > 40, "the scan lost the tests"
    subprocess.run([interpreter, "-m", "venv", tmp_path / "venv"], check=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-c", "constraints.txt"]
    subprocess.run([*install, *list_requirements()], check=True, cwd=ROOT)
    environment = {**os.environ, "PYTHONPATH": "src", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
