"""``luthier runs`` and ``luthier runs compare``."""

from __future__ import annotations

from typing import Any, Final

import click

from luthier.cli.commands_table import GROUPS
from luthier.cli.face import Face, command, draw_table
from luthier.cli.lazy import LazyGroup

COLUMNS: Final = ("run", "state", "recipe", "started", "steps", "loss", "validation", "tokens/s", "minutes")


@command()
@click.argument("first", metavar="RUN")
@click.argument("second", metavar="RUN")
def compare(face: Face, *, first: str, second: str) -> None:
    """Show two runs side by side: what differs and what it gave."""
    from luthier.api import runs as api

    found = api.compare_runs(face.workspace, first, second)
    recipe = [(row["key"], row["first"], row["second"]) for row in found["recipe"]]
    ids = [run["run"] for run in found["runs"]]
    differing = draw_table(recipe, columns=("recipe", *ids)) if recipe else "the recipes are equal"
    face.show(found, draw_runs(found["runs"]), "", differing)


@command("list")
def _list(face: Face) -> None:
    """List training runs, newest first."""
    from luthier.api import runs as api

    found = api.list_runs(face.workspace)
    face.show({"runs": found}, draw_runs(found) if found else f"no runs in {face.workspace} yet")


def draw_runs(found: list[dict[str, Any]]) -> Any:  # noqa: ANN401  a rich table
    """Lay runs out, one a line."""
    return draw_table([_to_row(run) for run in found], columns=COLUMNS, right=COLUMNS[4:])


def _to_row(run: dict[str, Any]) -> list[str | None]:
    def number(name: str, form: str) -> str:
        return format(run[name], form) if run.get(name) is not None else ""

    minutes = f"{run['seconds'] / 60:.1f}" if run.get("seconds") else ""
    return [
        run["run"],
        run["state"],
        run["recipe"],
        run["started"][:19],
        number("num_steps", ",d"),
        number("train_loss", ".4f"),
        number("validation_loss", ".4f"),
        number("rate_tokens_per_second", ",.0f"),
        minutes,
    ]


def _list_unless_named(**arguments: Any) -> Any:  # noqa: ANN401  a command's result
    """List where no command of the group is named."""
    if click.get_current_context().invoked_subcommand is None and _list.callback is not None:
        return _list.callback(**arguments)
    return None


runs: Final = LazyGroup(
    "runs",
    rows=GROUPS["runs"],
    callback=_list_unless_named,
    invoke_without_command=True,
    params=_list.params,
    help="List training runs, newest first.",
)
