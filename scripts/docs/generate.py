"""Write the generated pages of docs/ again: errors.md, cli.md, plugins.md, recipe.md. ``make docs`` runs it.

Each page is a function from nothing to text, so that a test can compare it with what is committed.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import click

from luthier.cli.main import luthier as root
from luthier.foundation import registry
from luthier.foundation.core.codes import BLOCKS, ErrorCode
from luthier.foundation.core.codes_table import EXPLANATIONS
from luthier.foundation.schema.sections import Recipe

DOCS = Path(__file__).parents[2] / "docs"
NOTE = "<!-- Written by scripts/docs/generate.py; change the source that it names and run `make docs`. -->\n"
WIDTH = 100
BLOCK_NAMES = {
    "REC": "Recipe and command line",
    "ENV": "Environment",
    "DAT": "Data",
    "TXT": "Text and templates",
    "MOD": "Model",
    "PLN": "Plan",
    "TRN": "Train",
    "ENG": "Engine and methods",
    "EVA": "Evaluate and measure",
    "STO": "Store",
    "LIF": "Lifecycle",
    "DEP": "Deploy",
    "SRV": "Server",
    "MON": "Monitor",
    "GOV": "Govern",
}


def errors_page() -> str:
    """Return every error code with what it means, a heading each."""
    lines = [
        NOTE,
        "# Error codes\n",
        "Every failure that you can mend has a code. `luthier explain CODE` shows the same text in the terminal. The",
        "source is `foundation/core/codes_table.py`.\n",
    ]
    for block in BLOCKS:
        codes = [code for code in get_args(ErrorCode) if code.startswith(f"E-{block}-")]
        if codes:
            lines.append(f"## {BLOCK_NAMES[block]}\n")
        for code in sorted(codes):
            page = EXPLANATIONS[code]
            lines.append(f"### {code}\n\n**{page.title}.** {page.why}\n\n*What to do:* {page.fix}\n")
    return "\n".join(lines)


def cli_page() -> str:
    """Return the help of every command, as ``--help`` prints it."""
    lines = [NOTE, "# Commands\n"]
    lines.append("stdout is data, stderr is talk. Source: the docstrings of `cli/commands/`.\n")
    names = root.context_settings["help_option_names"]
    context = click.Context(
        root, info_name="luthier", max_content_width=WIDTH, terminal_width=WIDTH, help_option_names=names
    )
    lines += _describe_command(root, context, depth=2)
    return "\n".join(lines)


def _describe_command(command: click.Command, context: click.Context, depth: int) -> Iterator[str]:
    help_text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    yield f"{'#' * depth} {context.command_path}\n\n```text\n{help_text}\n```\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is None:
                message = f"{context.command_path} lists {name} and does not have it"
                raise LookupError(message)
            inner = click.Context(child, info_name=name, parent=context, max_content_width=WIDTH, terminal_width=WIDTH)
            yield from _describe_command(child, inner, min(depth + 1, 4))


def plugins_page() -> str:
    """Return a table of plug-ins for each family."""
    lines = [NOTE, "# Plug-ins\n", "Source: `foundation/registry.py` and each plug-in's `Config`.\n"]
    for family, table in registry.TABLES.items():
        lines.append(f"## {family}\n")
        if not table.rows:
            lines.append("None is built in this version.\n")
            continue
        lines += ["| name | what it does | options | maturity | source |", "|---|---|---|---|---|"]
        for name, row in table.rows.items():
            config = registry.load_config(family, name)
            summary = (inspect.getdoc(config) or "").partition("\n")[0]
            options = ", ".join(f"`{option}`" for option in config.model_fields) or "none"
            lines.append(f"| [{name}]({family}/{name}.md) | {summary} | {options} | {row.maturity} | {row.source} |")
        lines.append("")
    return "\n".join(lines)


def recipe_page() -> str:
    """Return every section of the recipe with its keys, what they take and their defaults."""
    schema = Recipe.model_json_schema()
    definitions = schema["$defs"]
    lines = [NOTE, "# The recipe\n", "One file says the whole job; a key that is left out has the default shown."]
    lines.append("`luthier recipe show` prints every value with its origin. Source: `foundation/schema/sections.py`.\n")
    lines += ["## Top level\n", *_table_of_keys(schema)]
    for section, value in schema["properties"].items():
        if "$ref" in value:
            name = value["$ref"].rpartition("/")[2]
            lines += [f"## {section}\n", definitions[name]["description"] + "\n", *_table_of_keys(definitions[name])]
    lines.append("## Nested values\n")
    sections = {value["$ref"].rpartition("/")[2] for value in schema["properties"].values() if "$ref" in value}
    for name in sorted(set(definitions) - sections):
        lines += [f"### {name}\n", definitions[name]["description"] + "\n", *_table_of_keys(definitions[name])]
    return "\n".join(lines)


def _table_of_keys(schema: dict[str, Any]) -> list[str]:
    lines = ["| key | takes | default |", "|---|---|---|"]
    for key, value in schema["properties"].items():
        takes = _describe_type(value).replace("|", "\\|")
        if "$ref" in value and isinstance(value.get("default"), dict):
            default = f"`{value['default']['type']}`" if "type" in value["default"] else "its own defaults"
        else:
            default = f"`{_show(value['default'])}`" if "default" in value else "required"
        lines.append(f"| `{key}` | {takes} | {default} |")
    return [*lines, ""]


def _show(value: object) -> str:
    """Write a default as it would stand in a recipe."""
    return json.dumps(value, ensure_ascii=False).strip('"')


def _describe_type(value: dict[str, Any]) -> str:
    if "$ref" in value:
        return value["$ref"].rpartition("/")[2]
    if "anyOf" in value:
        return " or ".join(_describe_type(part) for part in value["anyOf"])
    if "enum" in value:
        return ", ".join(f"`{word}`" for word in value["enum"])
    if "const" in value:
        return f"`{value['const']}`"
    if value.get("type") == "array":
        return f"list of {_describe_type(value['items'])}"
    if value.get("type") == "object":
        inner = value.get("additionalProperties")
        return f"mapping to {_describe_type(inner)}" if isinstance(inner, dict) else "mapping"
    bounds = {
        "minimum": "at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
    }
    said = [f"{word} {value[key]}" for key, word in bounds.items() if key in value]
    name = {"number": "number", "integer": "whole number", "string": "text", "null": "null", "boolean": "true or false"}
    return " ".join([name[value["type"]] if "type" in value else "anything", ", ".join(said)]).strip()


PAGES: dict[str, Callable[[], str]] = {
    "errors.md": errors_page,
    "cli.md": cli_page,
    "plugins.md": plugins_page,
    "recipe.md": recipe_page,
}


def main() -> int:
    """Write every page; a page whose source is broken is named and the others are written all the same."""
    failed = False
    for name, page in PAGES.items():
        try:
            (DOCS / name).write_text(page(), encoding="utf-8")
        except (ImportError, AttributeError, LookupError) as error:
            print(f"docs/{name} cannot be written: {error}", file=sys.stderr)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
