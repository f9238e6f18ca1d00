"""``luthier recipe``."""

from __future__ import annotations

from pathlib import Path

import click

from luthier.cli.face import Face, command, draw_table
from luthier.cli.options import output_option, overrides_option, recipe_argument
from luthier.foundation.recipe.nodes import show_value


@command()
@recipe_argument
@overrides_option
def check(face: Face, *, recipe: str, overrides: tuple[str, ...]) -> None:
    """Check a recipe: all mistakes at once, each with its line."""
    from luthier.api import recipes

    found = recipes.check(recipe, overrides=overrides)
    face.show(
        found,
        f"{recipe} is right: {found['num_values'] - found['num_defaults']} values written, "
        f"{found['num_defaults']} defaults",
    )


@command()
@recipe_argument
@overrides_option
def show(face: Face, *, recipe: str, overrides: tuple[str, ...]) -> None:
    """Show every value of a recipe with its origin."""
    from luthier.api import recipes

    found = recipes.show(recipe, overrides=overrides)
    rows = [(value["key"], show_value(value["value"]), value["origin"]) for value in found["values"]]
    face.show(found, draw_table(rows, columns=("key", "value", "origin")))


@command()
@output_option
def schema(face: Face, *, output: Path | None) -> None:
    """Print the JSON Schema of recipes, for editors.

    An editor checks as you type when the recipe's first line is
    `# yaml-language-server: $schema=FILE`.
    """
    import json

    from luthier.api import recipes
    from luthier.foundation.core.files import write_atomic

    text = json.dumps(recipes.schema(), indent=1, ensure_ascii=False)
    if output is None:
        click.echo(text)
        return
    write_atomic(output.absolute(), f"{text}\n".encode())
    face.show({"schema": str(output)}, f"wrote {output}")
