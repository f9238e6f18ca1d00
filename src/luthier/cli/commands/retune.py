"""``luthier retune``: the next run from a serving release and what people said since."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from luthier.cli.commands.corridor import draw, find_exit_code, to_json
from luthier.cli.face import Face, command, draw_facts, draw_table

if TYPE_CHECKING:
    from rich.console import RenderableType


@command()
@click.argument("release", metavar="[RELEASE]", required=False)
@click.option("--to", "target", metavar="DIR", type=click.Path(path_type=Path), help="Write the recipe there.")
@click.option(
    "--recipe",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Stands in for the release's own recipe where that was swept.",
)
@click.option("--run", "is_run", is_flag=True, help="Run it too, and compare what it gives with the release.")
@click.option("--until", metavar="STAGE", help="With --run: the last stage.")
def retune(
    face: Face, *, release: str | None, target: Path | None, recipe: Path | None, is_run: bool, until: str | None
) -> int:
    """Make the next run's recipe from a release and the feedback that was accepted since.

    RELEASE is NAME, NAME@DIGEST or DIGEST; the newest by default.
    """
    from luthier.api import retune as api

    if until is not None and not is_run:
        message = "--until says where a run ends, so it needs --run"
        raise click.UsageError(message, click.get_current_context())
    drafted = api.draft(face.workspace, release, to=target, recipe=recipe)
    if not is_run:
        face.show(drafted, _draw_draft(drafted), "", f"next: luthier run {drafted['recipe']}")
        return 0
    done = api.run(face.workspace, drafted, until=until, progress=face.progress())
    shown = {**drafted, "result": to_json(done.result), "compared": done.compared}
    face.show(shown, _draw_draft(drafted), "", *draw(done.result), "", *_draw_comparison(done.compared))
    if done.result.denied is not None:
        face.complain(done.result.denied)
    return find_exit_code(done.result)


def _draw_draft(drafted: dict[str, Any]) -> RenderableType:
    return draw_facts(
        {
            "release": drafted["release"],
            "recipe": drafted["recipe"],
            "new rows": f"{drafted['num_rows']} by {drafted['kind']}, accepted by {', '.join(drafted['reviewers'])}",
            "sources": ", ".join(drafted["sources"]),
        }
    )


def _draw_comparison(compared: dict[str, Any] | None) -> list[RenderableType]:
    if compared is None:
        return ["release and new run are not compared: no held-out conversation that neither was trained on"]
    rows = [
        (item["metric"], f"{item['value']:+.4g}", f"{item['p']:.2g}", item["n"], compared["verdicts"][item["metric"]])
        for item in compared["differences"]
    ]
    title = f"new run minus release, on {compared['num_rows']} rows of {compared['on']} that neither was trained on"
    return [
        draw_table(
            rows, columns=("metric", "difference", "p", "n", "verdict"), right=("difference", "p", "n"), title=title
        )
    ]
