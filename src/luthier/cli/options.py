"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
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
form_option: Final = click.option(
    "--form", metavar="FORM", default="auto", show_default=True, help="The rows' form, such as messages or alpaca."
)
data_option: Final = click.option(
    "--data",
    "path",
    metavar="FILE",
    required=True,
    type=click.Path(path_type=Path),
    help="A file of rows: JSONL or JSON, plain or packed.",
)
