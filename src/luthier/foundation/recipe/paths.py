"""Paths of a recipe: ``${VAR}`` is expanded when a stage opens them, and never stored expanded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from luthier.foundation.core.errors import EnvironmentLacks

VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def find_variables(text: str) -> tuple[str, ...]:
    """Return the names of the variables in a text, in order."""
    return tuple(VARIABLE.findall(text))


def expand_variables(text: str, environment: Mapping[str, str], *, field: str = "", origin: str = "") -> str:
    """Replace every ``${NAME}`` by the variable's value.

    Args:
        text: A path as written.
        environment: The variables.
        field: Dotted path of the recipe's field, for the message.
        origin: Where the text came from, for the message.

    Raises:
        EnvironmentLacks: E-ENV-002 for a variable that is not set, or set to nothing.
    """
    for name in find_variables(text):
        if not environment.get(name):
            raise EnvironmentLacks(
                "E-ENV-002",
                f"the environment variable {name} is not set" + (f", which '{field}' needs" if field else ""),
                got=text,
                origin=origin,
                allowed=f"{name} set to the folder that the path begins with",
                fix=f"export {name}=/path/to/folder",
                field=field,
            )
    return VARIABLE.sub(lambda match: environment[match[1]], text)


def resolve_path(text: str, base_folder: Path, environment: Mapping[str, str]) -> Path:
    """Return the file or folder that a recipe's path means.

    Args:
        text: A path as written, with ``${VAR}`` in it or not.
        base_folder: Where relative paths start: the recipe's folder.
        environment: The variables.

    Raises:
        EnvironmentLacks: E-ENV-002 for a variable that is not set.
    """
    return base_folder / expand_variables(text, environment)
