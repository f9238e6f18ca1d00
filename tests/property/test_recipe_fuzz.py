"""Whatever a recipe holds, loading it ends in a recipe or in coded problems, never in anything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luthier.foundation.core.errors import LuthierError
from luthier.foundation.recipe.nodes import iterate_leaves
from luthier.foundation.recipe.resolve import load_recipe
from luthier.foundation.schema.sections import Recipe

NAMES = sorted(
    {
        *Recipe.model_fields,
        *(name for field in Recipe.model_fields.values() for name in getattr(field.annotation, "model_fields", {})),
        *("type", "options", "rank", "on", "metrics", "path", "by", "validation", "metric", "above", "name"),
    }
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["lora", "full", "qlora", "sft", "task", "unicode", "default", "none", "auto", "base", "${X}/y"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=4), inner),
    max_leaves=15,
)
RECIPES = st.dictionaries(st.sampled_from(sorted(Recipe.model_fields)), VALUES)


def check(source: Any, overrides: tuple[str, ...] = ()) -> None:
    try:
        resolved = load_recipe(source, overrides=overrides, environment={})
    except LuthierError as error:
        for problem in error.problems:
            assert problem.what
            assert problem.fix
        return
    assert set(resolved.origins) == {path for path, _ in iterate_leaves(resolved.to_mapping())}
    assert load_recipe(resolved.to_mapping(), environment={}).recipe == resolved.recipe


@given(RECIPES)
@settings(max_examples=150, deadline=None)
def test_any_mapping_of_known_names_ends_well(recipe: dict[str, Any]):
    check({"name": "x", "data": {"sources": [{"path": "p"}]}, **recipe})


@given(st.text() | st.binary(), st.sampled_from(["r.yaml", "r.json"]))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_file_ends_well(tmp_path: Path, content: str | bytes, name: str):
    data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    (tmp_path / name).write_bytes(data)
    check(tmp_path / name)


@given(RECIPES, st.integers(0, 400), st.text(alphabet="{}[]:,*&!|>\"'#%@`-? \n\t\\x0", max_size=3))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_recipe_with_a_slip_of_the_keyboard_ends_well(tmp_path: Path, recipe: dict[str, Any], at: int, slip: str):
    text = json.dumps({"name": "x", **recipe}, indent=1)
    for name in ("r.yaml", "r.json"):
        (tmp_path / name).write_text(text[:at] + slip + text[at:])
        check(tmp_path / name)


@given(st.sampled_from(NAMES), st.sampled_from(NAMES), st.text(max_size=12))
@settings(max_examples=150, deadline=None)
def test_any_override_ends_well(section: str, key: str, value: str):
    check({"name": "x", "data": {"sources": [{"path": "p"}]}}, (f"{section}.{key}={value}",))
