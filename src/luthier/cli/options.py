"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click
from click.shell_completion import CompletionItem

STAGE_NAMES: Final = ("data", "model", "plan", "train", "evaluate", "deploy", "monitor")


def check_output(context: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    """Refuse a file whose folder is not there before any work is done for it."""
    if value is not None and not value.absolute().parent.is_dir():
        message = f"there is no folder {str(value.parent)!r} to write into"
        raise click.BadParameter(message, context, parameter)
    return value


def complete_files(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """Let the shell complete the name of a file; click asks with these three."""
    return [CompletionItem(incomplete, type="file")]


def complete_stages(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """Complete the name of a stage; click asks with these three."""
    return [name for name in STAGE_NAMES if name.startswith(incomplete)]


recipe_argument: Final = click.argument("recipe", metavar="RECIPE", shell_complete=complete_files)
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
    help="Rows: JSONL, JSON, CSV or Parquet, or a folder of such files.",
)
output_option: Final = click.option(
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=check_output,
    help="Write to this file, not to stdout.",
)
