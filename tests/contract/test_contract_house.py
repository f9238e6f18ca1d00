"""The walls hold: contracts, sizes, names, and what a fresh process may load."""

from __future__ import annotations

import ast
import json
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "extras", "manager", "base2"}
HEAVY = ("torch", "transformers", "peft", "accelerate", "datasets", "trl", "scipy", "pyarrow", "sqlalchemy")


def load_in_fresh_process(module: str) -> set[str]:
    """Return the top-level names of all that a fresh process has loaded after importing a module."""
    code = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_the_command_line_starts_without_the_tensor_stack() -> None:
    loaded = load_in_fresh_process("luthier.cli.main")

    assert loaded & set(HEAVY) == set()
    assert not {name for name in loaded if name.startswith(("luthier.stages", "luthier.instruments", "luthier.api."))}


def test_importing_the_package_loads_next_to_nothing() -> None:
    loaded = load_in_fresh_process("luthier")

    assert {name for name in loaded if name.startswith("luthier")} == {"luthier"}
    assert loaded & {*HEAVY, "pydantic", "yaml", "click", "numpy"} == set()


@pytest.mark.parametrize("module", ["luthier.foundation.registry", "luthier.foundation.recipe", "luthier.examples"])
def test_a_light_room_starts_without_the_tensor_stack(module: str) -> None:
    assert load_in_fresh_process(module) & {"torch", "transformers", "peft", "accelerate"} == set()


def test_the_public_names_of_the_package_are_these() -> None:
    import luthier

    assert sorted(luthier.__all__) == ["Recipe", "__version__"]
    assert all(hasattr(luthier, name) for name in luthier.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Recipes'"):
        luthier.Recipes  # noqa: B018


def test_import_contracts_are_kept() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-3000:]


def test_a_family_of_plugins_has_its_contract() -> None:
    """A new family needs an independence contract of its own."""
    from luthier.foundation.registry import TABLES

    config = (ROOT / "pyproject.toml").read_text(encoding="utf-8")

    assert [table.home for table in TABLES.values() if f'modules = ["{table.home}.*"]' not in config] == []


# Sizes and names: STYLE section 10.


def list_functions(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or 0) - node.lineno + 1


def count_lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_no_file_is_longer_than_its_kind_may_be() -> None:
    limits = {"stage.py": 200, "loop.py": 400, "__init__.py": 30}

    over = {
        str(path.relative_to(ROOT)): count_lines(path)
        for path in SOURCES
        if not path.name.endswith("_table.py") and count_lines(path) > limits.get(path.name, 600)
    }

    assert over == {}


def test_no_function_is_longer_than_sixty_lines() -> None:
    over = [
        f"{path.relative_to(ROOT)}: {name} has {length}"
        for path in SOURCES
        for name, length in list_functions(ast.parse(path.read_text(encoding="utf-8")))
        if length > 60
    ]

    assert over == []


def test_most_files_are_short() -> None:
    lengths = [count_lines(path) for path in SOURCES if path.name != "__init__.py" and "_table" not in path.name]

    assert statistics.quantiles(lengths, n=10)[8] <= 350


def test_package_files_hold_a_docstring_only() -> None:
    root = ROOT / "src" / "luthier" / "__init__.py"
    faults = [
        str(path.relative_to(ROOT))
        for path in SOURCES
        if path.name == "__init__.py" and path != root and len(ast.parse(path.read_text(encoding="utf-8")).body) != 1
    ]

    assert faults == []


def test_no_file_or_folder_has_a_name_that_says_nothing() -> None:
    assert [
        str(path)
        for path in SOURCES
        for part in path.relative_to(ROOT).parts
        if part.removesuffix(".py") in BANNED_NAMES
    ] == []


def test_tests_are_named_uniquely_and_as_sentences() -> None:
    files = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    functions = [
        (path.name, name)
        for path in (ROOT / "tests").rglob("test_*.py")
        for name, _ in list_functions(ast.parse(path.read_text(encoding="utf-8")))
        if name.startswith("test_")
    ]

    assert sorted(set(files)) == sorted(files)
    assert [(file, name) for file, name in functions if len(name.split("_")) < 4] == []


# Errors: each code is raised by the library, and a test checks it.


def find_codes(folder: Path) -> set[str]:
    found: set[str] = set()
    for path in folder.rglob("*.py"):
        if not path.name.startswith("codes"):
            found |= set(re.findall(r"E-[A-Z]{3}-\d{3}", path.read_text(encoding="utf-8")))
    return found


def list_codes() -> set[str]:
    from typing import get_args

    from luthier.foundation.core.codes import ErrorCode

    return set(get_args(ErrorCode))


def test_every_code_is_used_by_the_library_and_no_other_is() -> None:
    used = find_codes(ROOT / "src")

    assert sorted(list_codes() - used) == []
    assert sorted(used - list_codes()) == []


def test_every_code_is_checked_by_a_test() -> None:
    assert sorted(list_codes() - find_codes(ROOT / "tests")) == []


# What may not stand in the repository.


def list_tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


def test_constraints_name_exact_versions_and_no_host() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if line[:1] != "#"]

    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][^\s;@+]*( ; .+)?", line) for line in lines), lines
    assert "torch==2.13.0" in lines


def test_constraints_allow_every_dependency_that_is_declared() -> None:
    import tomllib

    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    listed = [Requirement(text) for text in [*project["dependencies"], *extras["test"], *extras["dev"]]]
    own = [name for requirement in listed if requirement.name == "luthier" for name in requirement.extras]
    declared = [requirement for requirement in listed if requirement.name != "luthier"]
    declared += [Requirement(text) for name in own for text in extras[name]]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split(" ;")[0].split("==") for line in lines if "==" in line and line[0] != "#")
    pinned = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pinned.items()}

    for requirement in declared:
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        assert name in pinned, name
        assert requirement.specifier.contains(pinned[name]), name


def test_no_file_is_too_large_or_holds_a_private_key() -> None:
    import runpy

    find_faults = runpy.run_path(str(ROOT / "scripts" / "hooks" / "staged_files.py"))["find_faults"]

    assert find_faults(list_tracked()) == []


def test_the_hook_sees_a_large_file_and_a_private_key(tmp_path: Path) -> None:
    import runpy

    find_faults = runpy.run_path(str(ROOT / "scripts" / "hooks" / "staged_files.py"))["find_faults"]
    (tmp_path / "large").write_bytes(b"x" * 500_001)
    (tmp_path / "key").write_text("-----BEGIN " + "PRIVATE KEY-----\n" + "A" * 64 + "\n", encoding="utf-8")

    faults = find_faults([tmp_path / "large", tmp_path / "key", tmp_path / "gone"])

    assert [fault.partition(": ")[2].split()[0] for fault in faults] == ["500001", "holds"]
