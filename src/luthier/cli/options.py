"""Arguments and options that several commands share."""

from __future__ import annotations

from typing import Final

import click

recipe_argument: Final = click.argument("recipe", metavar="RECIPE")
overrides_option: Final = click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Override a value, such as train.epochs=1; values are YAML, lists are replaced.",
)
