"""Walks the table of plug-ins: rows against folders, callers against floors, third parties against each other."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from luthier.foundation import registry
from luthier.foundation.core.errors import LuthierError, MissingExtra, RecipeError
from luthier.foundation.registry import TABLES, get_row, get_rows, load_config, load_runtime
from luthier.testing.conformance import FAMILY_BASES, find_faults, find_heavy_imports

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
PLUGINS = [(family, name) for family, table in TABLES.items() for name in table.rows]

# DESIGN section 1, low to high. A room may be loaded from itself and from what stands further right.
FLOORS = ["foundation", "examples", "instruments", "stages", "lifecycle", "api", "server", "testing", "cli"]
INSTRUMENTS = ["remote", "text", "measure", "govern", "engine"]


def list_modules(folder: Path = SOURCE) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


# Rows and folders.


@pytest.mark.parametrize(("family", "name"), PLUGINS, ids=lambda part: part)
def test_every_row_resolves_and_conforms_to_its_family(family: str, name: str) -> None:
    assert find_faults(family, name) == []


def test_no_config_half_brings_in_the_tensor_stack() -> None:
    assert {plugin: found for plugin, found in find_heavy_imports(PLUGINS).items() if found} == {}


@pytest.mark.parametrize("family", TABLES)
def test_every_plugin_folder_has_a_row_and_every_row_a_folder(family: str) -> None:
    table = TABLES[family]
    home = SOURCE.joinpath(*table.home.split("."))
    if table.runtime:
        lying = {path.name for path in home.iterdir() if path.is_dir() and path.name != "__pycache__"}
    else:
        lying = {path.stem for path in home.glob("*.py") if holds_plugin(path)}

    assert lying == set(table.rows)
    assert all(row.package == f"{table.home}.{name}" for name, row in table.rows.items())


def holds_plugin(path: Path) -> bool:
    """Tell a metric's or grader's file from what the family shares: only the first defines PLUGIN."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    targets = [t for node in tree.body if isinstance(node, ast.Assign) for t in node.targets]
    targets += [node.target for node in tree.body if isinstance(node, ast.AnnAssign)]
    return any(isinstance(target, ast.Name) and target.id == "PLUGIN" for target in targets)


@pytest.mark.parametrize(("family", "name"), PLUGINS, ids=lambda part: part)
def test_the_source_in_the_table_is_the_source_in_the_config(family: str, name: str) -> None:
    assert get_row(family, name).source in load_config(family, name).SOURCE


def test_every_family_has_a_base_for_its_configs() -> None:
    assert set(FAMILY_BASES) == set(TABLES) == set(registry.iterate_families())


@pytest.mark.parametrize(("family", "name"), PLUGINS, ids=lambda part: part)
def test_names_are_lower_case_words(family: str, name: str) -> None:
    assert name.islower()
    assert name.isidentifier()
    assert family.islower()


# Callers.


def find_runtime_loads(tree: ast.AST) -> Iterator[str | None]:
    """Yield the family of each use of ``load_runtime``, None where it is not written as a text."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and "load_runtime" in {
            getattr(node.func, "attr", None),
            getattr(node.func, "id", None),
        }:
            first = node.args[0] if node.args else None
            yield first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None


def may_load(module: str, family: str | None) -> bool:
    """Say whether a module stands in the family's home room or above it."""
    room = module.split(".")[1:]
    floor = FLOORS.index(room[0])
    if family is None:
        return floor > FLOORS.index("stages")
    home = TABLES[family].home.split(".")[1:]
    if floor != FLOORS.index(home[0]):
        return floor > FLOORS.index(home[0])
    if home[0] == "instruments":
        return INSTRUMENTS.index(room[1]) >= INSTRUMENTS.index(home[1])
    return room[1] == home[1]


def test_runtime_halves_are_loaded_only_from_their_home_room_and_above() -> None:
    breaches = [
        f"{module} loads {family or 'a family that is not written as a text'}"
        for module, path in list_modules()
        if module != "luthier.foundation.registry"
        for family in find_runtime_loads(ast.parse(path.read_text(encoding="utf-8")))
        if not may_load(module, family)
    ]

    assert breaches == []


@pytest.mark.parametrize(
    ("module", "family", "expected"),
    [
        ("luthier.stages.data.pipeline", "operators", True),
        ("luthier.stages.train.loop", "operators", False),
        ("luthier.stages.train.worker", "methods", True),
        ("luthier.instruments.measure.judge", "methods", False),
        ("luthier.instruments.engine.score", "metrics", True),
        ("luthier.foundation.recipe.choices", "operators", False),
        ("luthier.lifecycle.corridor", "suites", True),
        ("luthier.stages.train.loop", None, False),
        ("luthier.testing.conformance", None, True),
    ],
)
def test_the_scan_of_callers_tells_right_from_wrong(module: str, family: str | None, expected: bool) -> None:
    assert may_load(module, family) is expected
    text = f"registry.load_runtime({family!r}, name)" if family else "load_runtime(family, name)"
    assert list(find_runtime_loads(ast.parse(text))) == [family]


# Contracts do not see imports by string. Beside the registry two tables may make them, each below one package only.
STRING_IMPORTS = {
    "luthier.foundation.registry": "",
    "luthier.lifecycle.stages_table": "luthier.stages.",
    "luthier.cli.lazy": "luthier.cli.commands.",
}


def find_string_imports(tree: ast.AST) -> Iterator[str]:
    """Yield the fixed beginning of each name that is imported by string."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = getattr(node.func, "attr", None) or getattr(node.func, "id", None)
        if called not in {"import_module", "__import__", "spec_from_file_location", "run_module", "run_path"}:
            continue
        first = node.args[0] if node.args else None
        head = first.values[0] if isinstance(first, ast.JoinedStr) and first.values else first
        yield head.value if isinstance(head, ast.Constant) and isinstance(head.value, str) else ""


def test_only_three_tables_import_by_string_and_two_of_them_below_one_package() -> None:
    breaches = [
        f"{module} imports {head or 'anything'} by string"
        for module, path in list_modules()
        for head in find_string_imports(ast.parse(path.read_text(encoding="utf-8")))
        if module not in STRING_IMPORTS or not head.startswith(STRING_IMPORTS[module])
    ]

    assert breaches == []


def test_the_scan_of_string_imports_sees_each_form() -> None:
    text = """
importlib.import_module(name)
import_module("torch")
__import__(f"luthier.stages.{x}.stage")
"""
    assert list(find_string_imports(ast.parse(text))) == ["", "torch", "luthier.stages."]


# Unknown names and third parties.


def test_an_unknown_family_is_refused_with_the_nearest() -> None:
    with pytest.raises(RecipeError) as caught:
        get_rows("operator")

    problem = caught.value.problems[0]
    assert (problem.code, problem.got, problem.fix) == ("E-REC-011", "operator", "luthier list operators")
    assert "methods" in problem.allowed


@pytest.mark.parametrize("load", [load_config, load_runtime])
def test_an_unknown_name_is_refused_with_the_nearest_and_the_list(load: Callable[[str, str], Any]) -> None:
    with pytest.raises(RecipeError) as caught:
        load("methods", "lorra")

    problem = caught.value.problems[0]
    assert problem.code == "E-REC-011"
    assert "nearest is 'lora'" in problem.what
    assert "full, lora" in problem.allowed
    assert problem.fix == "luthier list methods"


def test_a_family_without_members_says_so() -> None:
    empty = next((family for family, table in TABLES.items() if not table.rows), None)
    if empty is None:
        pytest.skip("every family has members")

    with pytest.raises(RecipeError) as caught:
        get_row(empty, "anything")

    assert "none" in caught.value.problems[0].allowed


CONFIG = '''
"""Options of a made-up operator."""

from luthier.foundation.schema.plugins import OperatorConfig


class Config(OperatorConfig):
    """Let every row through."""
'''
OPERATOR = '''
"""A made-up operator."""

from luthier.stages.data.outcomes import Kept


class KeepAll:
    """Keeps."""

    def apply(self, rows, config, held_out):
        """Keep every row."""
        return (Kept(row) for row in rows)


PLUGIN = KeepAll()
'''


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Return a function that installs a made-up distribution with one operator."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def install_one(
        distribution: str, name: str, *, package: str, config: str = CONFIG, runtime: str = OPERATOR
    ) -> None:
        info = tmp_path / f"{distribution}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n", encoding="utf-8")
        (info / "entry_points.txt").write_text(f"[luthier.operators]\n{name} = {package}\n", encoding="utf-8")
        if config:
            folder = tmp_path / package
            folder.mkdir()
            (folder / "__init__.py").write_text('"""Made up."""\n', encoding="utf-8")
            (folder / "config.py").write_text(config, encoding="utf-8")
            (folder / "operator.py").write_text(runtime, encoding="utf-8")
        get_rows.cache_clear()

    yield install_one
    get_rows.cache_clear()
    for module in set(sys.modules) - before:
        if module.startswith("made_up"):
            del sys.modules[module]


def test_a_third_party_operator_is_listed_without_being_loaded_and_conforms(install: Callable[..., None]) -> None:
    install("luthier-made-up", "keep_all", package="made_up_keep")

    row = get_row("operators", "keep_all")
    assert (row.distribution, row.maturity) == ("luthier-made-up", "preview")
    assert not [module for module in sys.modules if module.startswith("made_up")]

    assert find_faults("operators", "keep_all") == []


def test_two_distributions_with_one_name_are_refused_and_both_are_named(install: Callable[..., None]) -> None:
    install("first-maker", "keep_all", package="made_up_first")
    install("second-maker", "keep_all", package="made_up_second")

    with pytest.raises(RecipeError) as caught:
        get_rows("operators")

    problem = caught.value.problems[0]
    assert problem.code == "E-REC-012"
    assert "first-maker" in problem.got
    assert "second-maker" in problem.got
    assert problem.fix.startswith("pip uninstall ")


def test_a_third_party_cannot_take_a_name_of_ours(install: Callable[..., None]) -> None:
    install("bold-maker", "unicode", package="made_up_bold")

    with pytest.raises(RecipeError) as caught:
        get_rows("operators")

    problem = caught.value.problems[0]
    assert (problem.code, problem.got) == ("E-REC-012", "unicode from bold-maker, already taken by luthier")


@pytest.mark.parametrize("name", ["Keep_All", "keep-all", "1keep"])
def test_a_third_party_name_must_be_a_lower_case_word(install: Callable[..., None], name: str) -> None:
    install("loud-maker", name, package="made_up_loud")

    with pytest.raises(RecipeError) as caught:
        get_rows("operators")

    assert caught.value.code == "E-REC-012"


BROKEN = {
    "no package": {"config": ""},
    "a syntax error": {"config": "class Config(:"},
    "no Config": {"config": '"""Empty."""'},
    "an error when imported": {"config": "1 / 0"},
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_third_party_package_is_an_error_that_names_its_distribution(
    install: Callable[..., None], what: str
) -> None:
    install("broken-maker", "broken", package="made_up_broken", **BROKEN[what])

    with pytest.raises(RecipeError) as caught:
        load_config("operators", "broken")

    problem = caught.value.problems[0]
    assert problem.code == "E-REC-016"
    assert "broken-maker" in problem.what
    assert problem.fix == "pip uninstall broken-maker"


def test_a_plugin_whose_packages_are_missing_names_what_to_install(install: Callable[..., None]) -> None:
    install("needy-maker", "needy", package="made_up_needy", config="import a_package_that_nobody_has")

    with pytest.raises(MissingExtra) as caught:
        load_config("operators", "needy")

    problem = caught.value.problems[0]
    assert caught.value.exit_code == 4
    assert (problem.code, problem.fix) == ("E-ENV-001", "pip install a_package_that_nobody_has")


def test_a_fault_of_our_own_package_is_not_blamed_on_a_third_party(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise ZeroDivisionError(name)

    monkeypatch.setattr(registry.importlib, "import_module", fail)

    with pytest.raises(ZeroDivisionError) as caught:
        load_config("operators", "unicode")
    assert not isinstance(caught.value, LuthierError)
