"""Recipes: check, show, schema."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from luthier.foundation.recipe.resolve import ResolvedRecipe, load_recipe
from luthier.foundation.schema.sections import Recipe


def resolve(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    *,
    overrides: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> ResolvedRecipe:
    """Load, override and check a recipe.

    Args:
        recipe: A file, plain values, or a recipe built in Python.
        overrides: ``dotted.key=value`` each.
        environment: Variables for ``${VAR}`` in paths; the process's own by default.

    Raises:
        RecipeError: Every mistake at once.
        EnvironmentLacks: E-ENV-002 for a variable that a path needs.
    """
    return load_recipe(recipe, overrides=overrides, environment=os.environ if environment is None else environment)


def check(recipe: str | Path | Mapping[str, Any] | Recipe, *, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Say that a recipe is right, and how much of it was written.

    Raises:
        RecipeError: Every mistake at once.
    """
    resolved = resolve(recipe, overrides=overrides)
    defaults = sum(origin == "default" for origin in resolved.origins.values())
    return {
        "recipe": resolved.place,
        "name": resolved.recipe.name,
        "is_right": True,
        "num_values": len(resolved.origins),
        "num_defaults": defaults,
    }


def show(recipe: str | Path | Mapping[str, Any] | Recipe, *, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Return the whole recipe and the origin of each value.

    Raises:
        RecipeError: Every mistake at once.
    """
    resolved = resolve(recipe, overrides=overrides)
    values = [{"key": path, "value": value, "origin": origin} for path, value, origin in resolved.show()]
    return {"name": resolved.recipe.name, "recipe": resolved.to_mapping(), "values": values}


def schema() -> dict[str, Any]:
    """Return the JSON Schema of recipes with the plug-ins installed here."""
    from luthier.foundation.recipe.json_schema import recipe_schema

    return recipe_schema()
