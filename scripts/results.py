"""Published results: Reports as committed JSON, and docs/results.md made from them. ``make results`` runs it.

``export`` takes the newest Report of a recipe out of a workspace, ``render`` writes the page, ``repeat`` runs a recipe
again and does both. What an exported file may hold is decided in results_export.py: row ids and scores, never a text.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from results_export import ResultsError, export_report, read_entries, write_entry
from results_page import read_published, render_page

ROOT: Final = Path(__file__).parents[1]
REPORTS: Final = ROOT / "benchmarks" / "results" / "reports"
PUBLISHED: Final = ROOT / "scripts" / "published.yaml"
PAGE: Final = ROOT / "docs" / "results.md"
ENDED: Final = (0, 3)
"""Exit codes of a run that has a Report: done, and done with a gate that denies."""


def render() -> str:
    """Return docs/results.md as the committed Reports and the published figures make it."""
    return render_page(read_entries(REPORTS), read_published(PUBLISHED))


def write_page() -> None:
    """Write docs/results.md."""
    PAGE.write_text(render(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")


def export(workspace: Path, name: str | None) -> None:
    """Commit-ready JSON of the newest Report of a recipe, and the page with it.

    Raises:
        ResultsError: There is no such Report, or something of it is not free of texts.
    """
    path = write_entry(export_report(workspace, name=name, checkout=ROOT), REPORTS)
    print(f"wrote {path.relative_to(ROOT)}")
    write_page()


def repeat(name: str, workspace: Path) -> None:
    """Run a recipe until its Report, export it and write the page.

    Raises:
        ResultsError: There is no such recipe, no data, or the run did not end.
    """
    recipe = ROOT / "recipes" / f"{name}.yaml"
    if not recipe.is_file():
        known = ", ".join(sorted(path.stem for path in recipe.parent.glob("*.yaml")))
        raise ResultsError(f"There is no recipe {name!r}; there are: {known}.")
    if not os.environ.get("LUTHIER_DATA"):
        raise ResultsError("LUTHIER_DATA is not set: export LUTHIER_DATA=FOLDER with the rows that the recipe names.")
    workspace.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "luthier", "run", str(recipe), "--until", "evaluate"]
    done = subprocess.run([*command, "--workspace", str(workspace)], check=False)
    if done.returncode not in ENDED:
        raise ResultsError(f"The run ended with exit code {done.returncode}; nothing is exported.")
    export(workspace, name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the three commands.

    Returns:
        0, or 2 after one sentence on stderr.
    """
    parser = argparse.ArgumentParser(prog="results.py", description="Reports as JSON, and docs/results.md from them.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("render", help="write docs/results.md from the committed Reports")
    for word, text in (("export", "take the newest Report out of a workspace"), ("repeat", "run a recipe again first")):
        command = commands.add_parser(word, help=text)
        command.add_argument("--workspace", type=Path, required=True, metavar="DIR", help="the folder of .luthier")
        command.add_argument("--name", required=word == "repeat", help="the recipe's name")
    options = parser.parse_args(arguments)
    try:
        match options.command:
            case "render":
                write_page()
            case "export":
                export(options.workspace, options.name)
            case _:
                repeat(options.name, options.workspace)
    except ResultsError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
