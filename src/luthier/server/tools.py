"""Tools of a request: OpenAI's form, and parameters that are a JSON Schema of an object."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NoReturn

from luthier.foundation.core.errors import ServeError
from luthier.server.fields import read_bool, read_text

MAX_TOOLS: Final = 128
NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
TYPES: Final = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})
SCHEMA_KEYS: Final = ("additionalProperties", "not", "if", "then", "else", "contains", "propertyNames")
SCHEMA_LIST_KEYS: Final = ("anyOf", "oneOf", "allOf", "prefixItems")
SCHEMA_MAP_KEYS: Final = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
TEXT_KEYS: Final = ("$ref", "$schema", "$id", "title", "description", "format", "pattern")
NUMBER_KEYS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
COUNT_KEYS: Final = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")


def read_tools(value: object, *, as_given: bool = False) -> tuple[dict[str, Any], ...]:
    """Read the ``tools`` of a request; they are shown to the model as they are, keys that we do not know included.

    Args:
        value: The field.
        as_given: Take any objects: a model may have been trained with tools whose schemas are none, and is asked with
            the very same.

    Raises:
        ServeError: E-SRV-027 for what is no tool or no schema.
    """
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MAX_TOOLS:
        _refuse("tools", f"must be a list of at most {MAX_TOOLS} tools", got=value)
    if as_given:
        return tuple(_read_object(tool, f"tools[{index}]") for index, tool in enumerate(value))
    tools = tuple(_read_tool(tool, f"tools[{index}]") for index, tool in enumerate(value))
    names = [tool["function"]["name"] for tool in tools]
    if len(set(names)) < len(names):
        _refuse("tools", "has two functions of one name", got=names)
    return tools


def _refuse(field: str, rule: str, *, got: object) -> NoReturn:
    raise ServeError(
        "E-SRV-027",
        f"'{field}' {rule}",
        got=got,
        allowed='{"type": "function", "function": {"name": "…", "parameters": {"type": "object", "properties": {…}}}}',
        fix='send the tool in that form; where the model was trained with it as it is, add "tools_as_given": true',
        field=field,
    )


def _read_object(tool: object, field: str) -> dict[str, Any]:
    if not isinstance(tool, dict):
        _refuse(field, "must be an object", got=tool)
    return tool


def _read_tool(tool: object, field: str) -> dict[str, Any]:
    if not isinstance(tool, dict) or not isinstance(tool.get("function"), dict):
        _refuse(field, "must be an object with a function", got=tool)
    if tool.get("type", "function") != "function":
        _refuse(f"{field}.type", "must be function", got=tool["type"])
    function = tool["function"]
    name = function.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        _refuse(f"{field}.function.name", "must be 1 to 64 letters, digits, '_', '.' or '-'", got=name)
    read_text(function, "description", f"{field}.function.description", max_characters=100_000)
    read_bool(function, "strict")  # SDKs say it by themselves; answers are not forced into the schema
    parameters = function.get("parameters")
    if parameters is not None:
        if not isinstance(parameters, dict) or parameters.get("type", "object") != "object":
            _refuse(f"{field}.function.parameters", "must be a schema of an object", got=parameters)
        check_schema(parameters, f"{field}.function.parameters")
    return tool


def check_schema(schema: object, field: str) -> None:
    """Refuse what no JSON Schema can be; keys that JSON Schema does not know are notes and stay.

    Recursion is bounded by the depth of the request's JSON.

    Raises:
        ServeError: E-SRV-027.
    """
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        _refuse(field, "is no schema: it must be an object or a truth value", got=schema)
    _check_values(schema, field)
    for name, child in _list_children(schema, field):
        check_schema(child, name)


def _check_values(schema: Mapping[str, Any], field: str) -> None:
    types = schema.get("type", [])
    if not all(isinstance(name, str) and name in TYPES for name in (types if isinstance(types, list) else [types])):
        _refuse(f"{field}.type", f"must be of {', '.join(sorted(TYPES))}", got=types)
    if "enum" in schema and not (isinstance(schema["enum"], list) and schema["enum"]):
        _refuse(f"{field}.enum", "must be a list of values", got=schema["enum"])
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        _refuse(f"{field}.required", "must be a list of names", got=required)
    for key in TEXT_KEYS:
        if not isinstance(schema.get(key, ""), str):
            _refuse(f"{field}.{key}", "must be a text", got=schema[key])
    for key in NUMBER_KEYS:
        if isinstance(schema.get(key, 0), bool) or not isinstance(schema.get(key, 0), int | float):
            _refuse(f"{field}.{key}", "must be a number", got=schema[key])
    _check_counts(schema, field)


def _check_counts(schema: Mapping[str, Any], field: str) -> None:
    for key in COUNT_KEYS:
        count = schema.get(key, 0)
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            _refuse(f"{field}.{key}", "must be a whole number from 0", got=count)


def _list_children(schema: Mapping[str, Any], field: str) -> Iterable[tuple[str, object]]:
    for key in SCHEMA_KEYS:
        if key in schema:
            yield f"{field}.{key}", schema[key]
    items = schema.get("items", True)
    for index, child in enumerate(items if isinstance(items, list) else [items]):
        yield f"{field}.items[{index}]" if isinstance(items, list) else f"{field}.items", child
    for key in SCHEMA_LIST_KEYS:
        children = schema.get(key, [])
        if not isinstance(children, list) or (key in schema and not children):
            _refuse(f"{field}.{key}", "must be a list of schemas", got=children)
        yield from ((f"{field}.{key}[{index}]", child) for index, child in enumerate(children))
    for key in SCHEMA_MAP_KEYS:
        named = schema.get(key, {})
        if not isinstance(named, dict):
            _refuse(f"{field}.{key}", "must be an object of schemas", got=named)
        yield from ((f"{field}.{key}.{name[:64]}", child) for name, child in named.items())
