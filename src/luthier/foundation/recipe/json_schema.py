"""JSON Schema of recipes, for editors: every plug-in field lists its family's plug-ins with their options."""

from __future__ import annotations

import json
from typing import Any

from luthier.foundation import registry
from luthier.foundation.recipe.choices import NAME_FIELDS, OPTION_FAMILIES, PLUGIN_FIELDS, PluginField
from luthier.foundation.schema.sections import Recipe

PLUGIN_CHOICE = "PluginChoice"
_REFERENCE = "#/$defs/"


def recipe_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a recipe with the plug-ins installed here."""
    schema: dict[str, Any] = Recipe.model_json_schema()
    definitions: dict[str, Any] = schema["$defs"]
    for field in PLUGIN_FIELDS:
        choice = _one_of(field.family, definitions, default=field.default)
        _place(schema, field.path)["anyOf"] = _field_forms(field, choice)
    for field in NAME_FIELDS:
        _place(schema, field.path)["enum"] = sorted({*field.words, *registry.get_rows(field.family)})
    definitions.pop(PLUGIN_CHOICE, None)
    for section in ("train", "evaluate", "data", "model", "plan", "deploy", "monitor", "govern"):
        reference = schema["properties"][section]
        schema["properties"][section] = {"anyOf": [reference, {"type": "null"}]}
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Luthier recipe"
    return schema


def _place(schema: dict[str, Any], path: str) -> dict[str, Any]:
    """Clear a field's schema and return it, its description kept."""
    section, _, key = path.partition(".")
    name = schema["properties"][section]["$ref"].removeprefix(_REFERENCE)
    properties = schema["$defs"][name]["properties"]
    kept = {key: value for key, value in properties[key].items() if key in {"title", "description"}}
    properties[key] = kept
    return kept


def _field_forms(field: PluginField, choice: dict[str, Any]) -> list[dict[str, Any]]:
    words = [{"const": word} for word in sorted(field.words)]
    nothing = [{"type": "null"}] if "none" in field.words else []
    form = {"type": "array", "items": choice} if field.is_list else choice
    return [form, *words, *nothing]


def _one_of(family: str, definitions: dict[str, Any], *, default: str = "") -> dict[str, Any]:
    """Return the forms in which one plug-in of a family may be named."""
    forms: list[dict[str, Any]] = []
    for name in registry.get_rows(family):
        forms.append({"const": name})
        forms.append(_plugin_form(family, name, definitions, is_default=name == default))
    return {"oneOf": forms} if forms else {"not": {}}


def _plugin_form(family: str, name: str, definitions: dict[str, Any], *, is_default: bool) -> dict[str, Any]:
    prefix = f"{family}.{name}."
    text = json.dumps(registry.load_config(family, name).model_json_schema())
    form: dict[str, Any] = json.loads(text.replace(_REFERENCE, f"{_REFERENCE}{prefix}"))
    for inner, definition in form.pop("$defs", {}).items():
        if inner != PLUGIN_CHOICE:
            definitions[f"{prefix}{inner}"] = definition
    properties: dict[str, Any] = {"type": {"const": name}, **form.get("properties", {})}
    for option, inner_family in OPTION_FAMILIES.items():
        if option in properties:
            properties[option]["items"] = _one_of(inner_family, definitions)
    form["properties"] = properties
    form["required"] = [*([] if is_default else ["type"]), *form.get("required", [])]
    return form
