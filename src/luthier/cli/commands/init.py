"""``luthier init``: from nothing, or from a file of rows, to a recipe."""

from __future__ import annotations

from pathlib import Path

import click

from luthier.cli.face import Face, command, draw_facts


@command()
@click.argument("name", metavar="NAME", type=click.Path(path_type=Path))
@click.option(
    "--template",
    metavar="T",
    help="chat, classification, tools, preference or documents; the rows tell where --data is given.",
)
@click.option(
    "--data",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Your rows; the recipe names them where they lie.  [default: example rows in the folder]",
)
def init(face: Face, *, name: Path, template: str | None, data: Path | None) -> None:
    """Make a folder with a commented recipe, and example rows where you have none."""
    from luthier.api.init import init_job, list_templates

    made = init_job(name, template=template, data=data)
    seen = made["data"]
    columns = ", ".join(f"{ours} = {theirs}" for ours, theirs in seen["columns"].items())
    facts = {
        "template": f"{made['template']}: {list_templates()[made['template']]}",
        "rows": f"{seen['num_rows']:,} in {seen['path']} ({seen['format']}, {seen['form']})",
        **({"columns": columns} if columns else {}),
        **({"answers": f"{seen['num_labels']} different ones"} if seen["num_labels"] else {}),
        "recipe": made["recipe"],
    }
    face.show(made, draw_facts(facts), "", "next:", *(f"  {line}" for line in made["next"]))
