"""Load a plug-in's config half and check the options that a section gives it."""

from __future__ import annotations

from typing import TypeVar

from pydantic import ValidationError

from luthier.foundation.core.errors import DataError
from luthier.foundation.registry import load_config
from luthier.foundation.schema.plugins import PluginConfig
from luthier.foundation.schema.sections import PluginChoice

ConfigT = TypeVar("ConfigT", bound=PluginConfig)


def load_options(family: str, choice: PluginChoice, base: type[ConfigT], *, field: str) -> ConfigT:
    """Return a plug-in's resolved options.

    Args:
        family: ``operators`` or ``selectors``.
        choice: Name and options as the section has them.
        base: What the family's configs derive from.
        field: Dotted path of the section's field.

    Raises:
        RecipeError: E-REC-011 for a name that does not exist.
        DataError: E-DAT-017 for options that do not fit.
    """
    config_class = load_config(family, choice.type)
    word = family.removesuffix("s")
    try:
        config = config_class.model_validate(choice.options)
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(
            "E-DAT-017",
            f"the options of {word} {choice.type} do not fit: {first['msg'].lower()}",
            got=f"{'.'.join(map(str, first['loc']))} = {first['input']!r}",
            allowed=", ".join(config_class.model_fields) or "no options",
            fix=f"{field.removeprefix('data.')}: " + f"{{type: {choice.type}}}".join(_brackets(family)),
            field=f"{field}.{choice.type}",
        ) from error
    if not isinstance(config, base):
        message = f"{config_class.__module__}.Config must derive from {base.__name__}"
        raise TypeError(message)
    return config


def _brackets(family: str) -> tuple[str, str]:
    return ("[", "]") if family == "operators" else ("", "")
