"""Everything public is documented, links lead somewhere, and the README tells the truth."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from luthier import __version__
from luthier.cli.commands_table import GROUPS
from luthier.cli.commands_table import ROOT as ROWS
from luthier.foundation.core.errors import RecipeError
from luthier.foundation.recipe.resolve import load_recipe
from luthier.foundation.registry import TABLES, get_rows
from luthier.lifecycle.stages_table import STAGES
from luthier.testing.conformance import UNWRITTEN, check_plugin

ROOT = Path(__file__).parents[2]
PLUGINS = [(family, name) for family, table in TABLES.items() for name in table.rows]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "adr").glob("*.md")])
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("family", "name"), PLUGINS, ids=lambda part: part)
def test_every_plugin_has_a_page(family: str, name: str) -> None:
    path = ROOT / "docs" / family / f"{name}.md"

    assert path.is_file(), f"docs/{family}/{name}.md is missing"
    assert path.read_text(encoding="utf-8").startswith("# "), "a page begins with its heading"


@pytest.mark.parametrize("family", TABLES)
def test_no_page_describes_a_plugin_that_does_not_exist(family: str) -> None:
    pages = {path.stem for path in (ROOT / "docs" / family).glob("*.md")} - {"index"}

    assert pages <= set(TABLES[family].rows)


def test_no_page_says_that_it_is_still_to_be_written() -> None:
    unwritten = [str(path.relative_to(ROOT)) for path in PAGES if UNWRITTEN in path.read_text(encoding="utf-8")]

    assert unwritten == [], f"{UNWRITTEN}: `make new` left these to their author"


@pytest.mark.parametrize("stage", [spec.name for spec in STAGES])
def test_every_stage_has_a_page_that_shows_its_section(stage: str) -> None:
    text = (ROOT / "docs" / "stages" / f"{stage}.md").read_text(encoding="utf-8")

    assert text.startswith("# Stage ")
    assert re.search(rf"^```yaml\n{stage}:", text, re.M), "a piece of a recipe"
    assert f"../recipe.md#{stage}" in text, "the keys"


def test_every_command_has_its_help_on_the_page_of_commands() -> None:
    """And so has every group; the page itself is generated and tested to be current."""
    headings = set(re.findall(r"^#+ luthier ([a-z -]+)$", (ROOT / "docs" / "cli.md").read_text(encoding="utf-8"), re.M))

    assert headings == {*ROWS, *(f"{group} {name}" for group, rows in GROUPS.items() for name in rows)}


def list_reached(start: Path) -> set[Path]:
    """Return every page that links lead to from a page."""
    reached, waiting = set(), [start.resolve()]
    while waiting:
        page = waiting.pop()
        if page in reached or not page.is_file() or page.suffix != ".md":
            continue
        reached.add(page)
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
        found = re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", text)
        waiting += [(page.parent / target).resolve() for target in found if "://" not in target]
    return reached


def test_every_page_is_reached_from_the_index() -> None:
    pages = {path.resolve() for path in (ROOT / "docs").rglob("*.md")}

    assert {str(path.relative_to(ROOT)) for path in pages - list_reached(ROOT / "docs" / "index.md")} == set()


def test_every_link_to_a_heading_leads_to_one() -> None:
    broken = []
    for path in PAGES:
        text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.S)
        for target, heading in re.findall(r"\]\(([^)\s#:]*)#([^)\s]+)\)", text):
            page = (path.parent / target) if target else path
            headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
            known = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}
            if heading not in known:
                broken.append(f"{path.relative_to(ROOT)}: {target}#{heading}")

    assert broken == []


def find_undocumented(path: Path) -> Iterator[str]:
    """Yield what is public in a module and has no docstring."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if ast.get_docstring(tree) is None:
        yield f"{path.relative_to(ROOT)}: the module"
    for node in tree.body:
        is_public = isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_")
        if is_public and ast.get_docstring(node) is None:
            yield f"{path.relative_to(ROOT)}: {node.name}"


def test_every_public_module_class_and_function_has_a_docstring() -> None:
    assert [fault for path in (ROOT / "src").rglob("*.py") for fault in find_undocumented(path)] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_to_a_file_leads_to_one(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.S)
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    broken = [
        target
        for target in targets
        if "://" not in target and not target.startswith(("#", "mailto:"))
        if not (path.parent / target.partition("#")[0]).exists()
    ]

    assert broken == []


def list_fenced_lines(text: str) -> list[str]:
    return [line.strip() for block in re.findall(r"```[a-z]*\n(.*?)```", text, re.S) for line in block.splitlines()]


def list_make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))


def test_the_readme_names_the_newcomers_two_commands_and_only_targets_that_exist() -> None:
    lines = list_fenced_lines(README)
    named = {match[1] for line in lines if (match := re.match(r"make ([a-z-]+)", line))}

    assert {"demo", "test"} <= named
    assert named <= list_make_targets()


def test_help_lists_every_target_that_does_something() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)

    shown = set(re.findall(r"^  make ([a-z-]+) ", done.stdout, re.M))
    assert shown == list_make_targets() - {"fmt-check", "unit"}


def test_ci_runs_the_readmes_own_test_command() -> None:
    """The same lines that .ci/run has: the first fenced line under "Run the tests"."""
    section = README.partition("## Run the tests")[2]

    assert list_fenced_lines(section)[0] == "make test"


def test_every_commands_name_in_the_guides_exists() -> None:
    """`luthier WORD` in a fenced block names a command of the table."""
    table = (ROOT / "src/luthier/cli/commands_table.py").read_text(encoding="utf-8")
    known = set(re.findall(r'^ {4}"([a-z-]+)": ', table, re.M))
    named = {
        (path.name, match[1])
        for path in PAGES
        if path.name != "cli.md"
        for line in list_fenced_lines(path.read_text(encoding="utf-8"))
        if (match := re.match(r"(?:\$ )?(?:\.venv/bin/)?luthier ([a-z][a-z-]*)", line))
    }

    assert {(page, word) for page, word in named if word not in known} == set()


def list_blocks(kind: str) -> list[tuple[str, str]]:
    return [
        (f"{path.relative_to(ROOT)}-{number}", block)
        for path in PAGES
        for number, block in enumerate(re.findall(rf"```{kind}\n(.*?)```", path.read_text(encoding="utf-8"), re.S))
    ]


RECIPES = {name: text for name, text in list_blocks("yaml") if text.startswith("luthier:")}


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_that_is_shown_loads(name: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPES[name], encoding="utf-8")

    assert load_recipe(path, environment={}).recipe.luthier == 1


def test_the_error_that_the_guide_shows_is_the_one_that_the_program_gives(tmp_path: Path) -> None:
    shown = next(text for name, text in list_blocks("text") if name.startswith("docs/guides/when-it-fails.md"))
    path = tmp_path / "my-job.yaml"
    path.write_text("luthier: 1\nname: a\ndata:\n  sources:\n  - {path: train.jsonl}\n\ntrian: {}\n", encoding="utf-8")

    with pytest.raises(RecipeError) as caught:
        load_recipe(path, environment={})

    assert str(caught.value).replace(f"{tmp_path}/", "") == shown.rstrip()


def test_the_plugin_of_the_guide_works_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guide's two files, installed as a distribution, pass the check that the guide shows."""
    text = (ROOT / "docs" / "guides" / "write-a-plugin.md").read_text(encoding="utf-8")
    config, operator, _ = re.findall(r"```python\n(.*?)```", text, re.S)
    point = re.findall(r"```toml\n\[project.*?\n(.*?)```", text, re.S)[0].replace('"', "")
    package = tmp_path / "my_operators" / "min_length"
    package.mkdir(parents=True)
    for folder in (package.parent, package):
        (folder / "__init__.py").write_text('"""Mine."""\n', encoding="utf-8")
    (package / "config.py").write_text(config, encoding="utf-8")
    (package / "operator.py").write_text(operator, encoding="utf-8")
    info = tmp_path / "my_operators-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-operators\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[luthier.operators]\n{point}", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    get_rows.cache_clear()
    try:
        check_plugin("operators", "min_length")
    finally:
        get_rows.cache_clear()
        for module in [name for name in sys.modules if name.startswith("my_operators")]:
            del sys.modules[module]


# CHANGELOG (STYLE section 16): outcomes in one sentence of at most 25 words, under Unreleased until a release.

CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_changelog_entries_are_one_sentence_of_at_most_25_words() -> None:
    entries = re.findall(r"^- (.+(?:\n  .+)*)", CHANGELOG, re.M)

    assert entries
    for entry in entries:
        assert len(entry.split()) <= 25, entry
        assert entry.endswith("."), entry


def test_the_changelog_has_unreleased_first_and_the_versions_that_were_released() -> None:
    headings = re.findall(r"^## \[(.+?)\]", CHANGELOG, re.M)

    assert headings[0] == "Unreleased"
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", heading) for heading in headings[1:])
    assert __version__ not in headings or headings.index(__version__) == 1


# ADRs: numbered without gaps, one page, the five parts.


def test_decisions_are_numbered_without_gaps_and_fit_a_page() -> None:
    paths = sorted((ROOT / "adr").glob("[0-9]*.md"))

    assert [int(path.name[:4]) for path in paths] == list(range(1, len(paths) + 1))
    for path in paths:
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 60, path.name
        for part in ("Context", "Decision", "Alternatives", "Consequences", "How we will know it was wrong"):
            assert f"## {part}\n" in text, f"{path.name} lacks {part}"
        assert path.name in (ROOT / "adr" / "README.md").read_text(encoding="utf-8")
