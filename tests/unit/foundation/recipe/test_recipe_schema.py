"""JSON Schema of recipes: it takes what loading takes and refuses what loading refuses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from luthier.foundation.core.errors import RecipeError
from luthier.foundation.recipe.json_schema import recipe_schema
from luthier.foundation.recipe.nodes import to_value
from luthier.foundation.recipe.resolve import load_recipe
from luthier.foundation.recipe.text import parse_yaml

TYPES: Mapping[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
    "integer": int,
    "number": (int, float),
}
BOUNDS: Mapping[str, Any] = {
    "minimum": lambda value, bound: value >= bound,
    "maximum": lambda value, bound: value <= bound,
    "exclusiveMinimum": lambda value, bound: value > bound,
    "exclusiveMaximum": lambda value, bound: value < bound,
}
ANNOTATIONS = {"title", "description", "default", "$defs", "$schema"}


def is_valid(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any]) -> bool:
    """Check a value by the words of JSON Schema 2020-12 that our schema uses; another word is an error."""
    return all(holds(word, rule, value, schema, root) for word, rule in schema.items() if word not in ANNOTATIONS)


def holds(word: str, rule: Any, value: Any, schema: Mapping[str, Any], root: Mapping[str, Any]) -> bool:
    if word == "$ref":
        return is_valid(value, root["$defs"][rule.removeprefix("#/$defs/")], root)
    if word in ("anyOf", "oneOf"):
        matching = sum(is_valid(value, branch, root) for branch in rule)
        return matching == 1 if word == "oneOf" else matching > 0
    if word == "not":
        return not is_valid(value, rule, root)
    if word == "type":
        return isinstance(value, TYPES[rule]) and (rule not in ("integer", "number") or not isinstance(value, bool))
    if word in ("const", "enum"):
        return value in ([rule] if word == "const" else rule)
    if word in BOUNDS:
        return not isinstance(value, int | float) or BOUNDS[word](value, rule)
    if word == "pattern":
        return not isinstance(value, str) or re.search(rule, value) is not None
    return holds_inside(word, rule, value, schema, root)


def holds_inside(word: str, rule: Any, value: Any, schema: Mapping[str, Any], root: Mapping[str, Any]) -> bool:
    if word == "items":
        return not isinstance(value, list) or all(is_valid(item, rule, root) for item in value)
    if word in ("minItems", "minLength"):
        return not hasattr(value, "__len__") or len(value) >= rule
    if word == "uniqueItems":
        return not rule or len(value) == len({str(item) for item in value})
    if not isinstance(value, dict):
        return True
    if word == "required":
        return set(rule) <= set(value)
    if word == "properties":
        return all(is_valid(value[key], inner, root) for key, inner in rule.items() if key in value)
    if word == "patternProperties":
        return all(is_valid(v, inner, root) for p, inner in rule.items() for k, v in value.items() if re.search(p, k))
    assert word == "additionalProperties", f"the schema uses {word!r}, which this validator does not know"
    rest = {key: inner for key, inner in value.items() if key not in schema.get("properties", {})}
    return not rest if rule is False else rule is True or all(is_valid(inner, rule, root) for inner in rest.values())


START = "name: x\ndata: {sources: [{path: rows.jsonl}]}\n"

ACCEPTED = [
    "",
    "seed: 7",
    "train:",
    "train: {method: lora, objective: {type: sft}}",
    "train: {method: {rank: 4}, learning_rate: auto}",
    "train: {method: full, learning_rate: 1e-4, backend: luthier}",
    "plan: {launcher: local, minutes: 5}",
    "evaluate: {suites: [task, {type: forgetting}], systems: [base, tuned]}",
    "evaluate: {suites: [{type: task, on: test, name: first}]}",
    "evaluate: {suites: [{type: task, metrics: [exact_match, {type: token_f1}], max_questions: 10}]}",
    "deploy: {target: none}",
]
REFUSED = [
    "seed: -1",
    "seed: 'x'",
    "sead: 1",
    "train: {method: lorra}",
    "train: {method: {type: lora, rnak: 4}}",
    "train: {method: {type: lora, rank: many}}",
    "train: {method: {type: full, rank: 4}}",
    "train: {too_long: maybe}",
    "evaluate: {suites: task}",
    "evaluate: {suites: [unheard_of]}",
    "deploy: {target: moon}",
    "evaluate: {suites: [{type: task, metrics: [exact_mach]}]}",
    "evaluate: {suites: [{type: task, metrics: []}]}",
    "plan: {launcher: moon}",
    "govern: {approvals: 21}",
]


@pytest.mark.parametrize("text", ACCEPTED)
def test_the_schema_takes_what_loads(text: str):
    value = to_value(parse_yaml(START + text, "r", []))
    assert isinstance(value, dict)
    load_recipe(value, environment={})
    assert is_valid(value, recipe_schema(), recipe_schema())


@pytest.mark.parametrize("text", REFUSED)
def test_the_schema_refuses_what_does_not_load(text: str):
    value = to_value(parse_yaml(START + text, "r", []))
    assert isinstance(value, dict)
    with pytest.raises(RecipeError):
        load_recipe(value, environment={})
    assert not is_valid(value, recipe_schema(), recipe_schema())


def test_every_recipe_of_the_repository_loads_and_fits_the_schema():
    schema = recipe_schema()
    for path in Path(__file__).parents[4].joinpath("recipes").glob("*.yaml"):
        assert is_valid(to_value(parse_yaml(path.read_text(), str(path), [])), schema, schema), path
        load_recipe(path, environment={"LUTHIER_DATA": "/data"})


def test_every_reference_of_the_schema_resolves():
    schema = recipe_schema()
    references = set(re.findall(r"'#/\$defs/([^']+)'", str(schema)))
    assert references <= set(schema["$defs"])
