"""Scaffold a plug-in: both halves, a registry row, a test, a page. ``make new FAMILY=metrics NAME=my_metric`` runs it.

What it writes is red on purpose: conformance, the test and the page's check each say what is to be written, until it
is. Nothing that is there is overwritten.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from new_plugin_text import (
    render_config,
    render_package,
    render_page,
    render_runtime,
    render_single,
    render_test,
)

from luthier.foundation.registry import TABLES, Table
from luthier.testing.conformance import FAMILY_BASES
from luthier.testing.shapes import PROTOCOLS

ROOT: Final = Path(__file__).parents[1]
REGISTRY: Final = Path("src/luthier/foundation/registry.py")
PLANNED: Final = Path("src/luthier/foundation/recipe/planned_table.py")
USAGE: Final = 2


class CannotScaffoldError(ValueError):
    """A family or name that cannot be."""


def scaffold(family: str, name: str, root: Path = ROOT) -> list[Path]:
    """Write a plug-in's five files and its row.

    Args:
        family: Plural name, such as ``metrics``.
        name: What recipes will call it.
        root: The repository.

    Returns:
        What was written or changed, below the root.

    Raises:
        CannotScaffoldError: When the family is unknown, or the name is no lower-case word or taken.
    """
    if family not in TABLES:
        raise CannotScaffoldError(f"there is no family {family!r}; there are: {', '.join(TABLES)}")
    if not name.isidentifier() or not name.islower():
        raise CannotScaffoldError(f"{name!r} is no lower-case word, such as near_dedupe")
    table = TABLES[family]
    files = list_files(table, name)
    taken = [str(path) for path in files if (root / path).exists()]
    if name in table.rows or taken:
        raise CannotScaffoldError(f"{name!r} is taken in {family}: {', '.join(taken) or 'it has a row'}")
    registry = add_row((root / REGISTRY).read_text(encoding="utf-8"), family, name)
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    (root / REGISTRY).write_text(registry, encoding="utf-8")
    planned = root / PLANNED
    planned.write_text(drop_planned(planned.read_text(encoding="utf-8"), family, name), encoding="utf-8")
    changed = [*files, REGISTRY, PLANNED]
    make_neat(root, (path for path in changed if path.suffix == ".py"))
    return changed


def list_files(table: Table, name: str) -> dict[Path, str]:
    """Return the text of each new file by its path below the root."""
    base = FAMILY_BASES[table.family].__name__
    protocol = PROTOCOLS.get(table.family)
    home = Path("src", *table.home.split("."))
    if table.runtime:
        halves = {
            home / name / "__init__.py": render_package(name),
            home / name / "config.py": render_config(name, base),
            home / name / f"{table.runtime}.py": render_runtime(name, protocol),
        }
    else:
        halves = {home / f"{name}.py": render_single(name, base, protocol)}
    return {
        **halves,
        Path("tests", "parity", f"test_{table.family}_{name}.py"): render_test(table.family, name),
        Path("docs", table.family, f"{name}.md"): render_page(table.family, name),
    }


def add_row(text: str, family: str, name: str) -> str:
    """Add a row at the end of a family's table in the registry's text; formatting is left to ruff."""
    for node in ast.walk(ast.parse(text)):
        is_table = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "_table"
        if is_table and isinstance(node.args[0], ast.Constant) and node.args[0].value == family:
            home = ast.get_source_segment(text, node.args[2])
            lines = text.splitlines(keepends=True)
            last = lines[node.end_lineno - 1]
            before = last[: node.end_col_offset - 1].rstrip()
            comma = "" if not before.strip() or before.endswith(",") else ", "
            row = f'{comma}**_built_in({home}, "{name}"),)'
            lines[node.end_lineno - 1] = f"{before}{row}{last[node.end_col_offset :]}"
            return "".join(lines)
    raise CannotScaffoldError(f"{REGISTRY} has no table for {family}")


def drop_planned(text: str, family: str, name: str) -> str:
    """Take a name out of the table of what is promised, where it stands there."""

    def rewrite(match: re.Match[str]) -> str:
        names = [word for word in re.findall(r'"(\w+)"', match[2]) if word != name]
        inner = "{" + ", ".join(f'"{word}"' for word in names) + "}" if names else ""
        return f"{match[1]}frozenset({inner})"

    return re.sub(rf'(^ +"{family}": )frozenset\((.*?)\)', rewrite, text, flags=re.M | re.S)


def make_neat(root: Path, paths: Iterable[Path]) -> None:
    """Format and sort imports with the project's own settings."""
    files = [str(path) for path in paths]
    check, layout = ["check", "--fix-only", "--quiet"], ["format", "--quiet"]
    for words in (layout, check, layout):
        subprocess.run([sys.executable, "-m", "ruff", *words, *files], cwd=root, check=True)


def main(words: list[str]) -> int:
    """Scaffold what the two words say, and tell what comes next."""
    family, name = (*words, "", "")[:2]
    try:
        changed = scaffold(family, name)
    except CannotScaffoldError as error:
        print(f"{error}\nusage: make new FAMILY=metrics NAME=my_metric", file=sys.stderr)
        return USAGE
    print("\n".join(f"  {path}" for path in changed))
    print(
        f"It is red until it is honest. Write what is `To be written`, then: make docs && .venv/bin/python -m pytest "
        f"tests/unit/test_registry.py tests/docs tests/parity/test_{family}_{name}.py"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
