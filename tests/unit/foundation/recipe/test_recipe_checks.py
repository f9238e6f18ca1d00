"""Contradictions, complaints, trees and paths, each piece by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, ValidationError

from luthier.foundation import registry
from luthier.foundation.core.errors import EnvironmentLacks, Problem, RecipeError
from luthier.foundation.recipe.checks import is_path_field, iterate_path_texts
from luthier.foundation.recipe.choices import NAME_FIELDS, PLUGIN_FIELDS
from luthier.foundation.recipe.complaints import Complaints
from luthier.foundation.recipe.nodes import (
    MapNode,
    ScalarNode,
    find_node,
    find_origin,
    from_value,
    iterate_leaves,
    put_node,
    show_value,
    to_value,
)
from luthier.foundation.recipe.paths import expand_variables, find_variables, resolve_path
from luthier.foundation.recipe.planned_table import PLANNED
from luthier.foundation.recipe.resolve import load_recipe, write_recipe
from luthier.foundation.schema.sections import PluginChoice, Recipe

START: dict[str, Any] = {"name": "x", "data": {"sources": [{"path": "p"}]}}


def codes_of(recipe: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe, environment={})
    return [(problem.field, problem.code) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("validation", "test", "is_right"),
    [(0.1, 0.1, True), (0.0, 0.0, True), (0.5, 0.49, True), (0.5, 0.5, False), (1.0, 0.0, False), (0.91, None, False)],
)
def test_splits_leave_something_to_train_on(validation: float, test: float | None, is_right: bool):
    """A test share that is not given is its default, 0.1: 0.91 and 0.1 leave nothing."""
    split = {"validation": validation, **({"test": test} if test is not None else {})}
    recipe = {**START, "data": {**START["data"], "split": split}}
    if is_right:
        assert load_recipe(recipe, environment={}).recipe.data.split.validation == validation
    else:
        assert codes_of(recipe) == [("data.split", "E-REC-008")]


@pytest.mark.parametrize(
    ("gate", "systems", "problem"),
    [
        ({"above": "base"}, None, None),
        ({"not_worse_than": "base", "margin": 0.1}, None, None),
        ({"above": "base_told"}, ["base", "base_told", "tuned"], None),
        ({}, None, "evaluate.gates.0"),
        ({"above": None}, None, "evaluate.gates.0"),
        ({"above": "base", "not_worse_than": "base"}, None, "evaluate.gates.0"),
        ({"above": "base_told"}, None, "evaluate.gates.0.above"),
        ({"above": "tuned"}, None, "evaluate.gates.0.above"),
        ({"not_worse_than": "base"}, ["tuned"], "evaluate.gates.0.not_worse_than"),
    ],
)
def test_a_gate_compares_with_exactly_one_other_system(
    gate: dict[str, Any], systems: list[str] | None, problem: str | None
):
    evaluate = {"suites": ["task"], "gates": [{"metric": "task.exact_match", **gate}]}
    recipe = {**START, "evaluate": {**evaluate, **({"systems": systems} if systems else {})}}
    if problem is None:
        assert len(load_recipe(recipe, environment={}).recipe.evaluate.gates) == 1
    else:
        assert codes_of(recipe) == [(problem, "E-REC-008")]


def test_two_suites_of_a_type_need_two_names_and_gates_use_them():
    suites = [{"type": "task", "name": "seen"}, {"type": "task", "name": "unseen", "metrics": ["token_f1"]}]
    gates = [{"metric": "unseen.token_f1", "above": "base"}, {"metric": "seen.exact_match", "above": "base"}]
    recipe = load_recipe({**START, "evaluate": {"suites": suites, "gates": gates}}, environment={}).recipe
    assert [suite.options["name"] for suite in recipe.evaluate.suites] == ["seen", "unseen"]
    gates[0]["metric"] = "unseen.exact_match"
    assert codes_of({**START, "evaluate": {"suites": suites, "gates": gates}}) == [
        ("evaluate.gates.0.metric", "E-REC-008")
    ]
    suites[1]["name"] = "seen"
    assert ("evaluate.suites.1", "E-REC-008") in codes_of({**START, "evaluate": {"suites": suites}})


def test_a_suite_that_is_wrong_does_not_make_its_gates_wrong_too():
    evaluate = {"suites": [{"type": "task", "onn": "x"}], "gates": [{"metric": "task.exact_match", "above": "base"}]}
    assert codes_of({**START, "evaluate": evaluate}) == [("evaluate.suites.0.onn", "E-REC-001")]


def test_no_planned_name_is_built_already_and_every_family_is_a_family():
    for family, names in PLANNED.items():
        built = registry.get_table(family).rows
        assert not names & built.keys(), "take the name out of planned_table.py once it is built"
        assert all(name.islower() and name.isidentifier() for name in names)


def test_plugin_fields_name_real_fields_and_families():
    for field in (*PLUGIN_FIELDS, *NAME_FIELDS):
        section, _, key = field.path.partition(".")
        annotation = Recipe.model_fields[section].annotation
        assert isinstance(annotation, type)
        assert issubclass(annotation, BaseModel)
        assert key in annotation.model_fields
        assert field.family in registry.TABLES
        assert not field.default or field.default in registry.get_rows(field.family)


def test_the_default_plugins_of_the_table_are_those_of_the_sections():
    defaults = write_recipe(Recipe(name="x"))
    for field in PLUGIN_FIELDS:
        section, _, key = field.path.partition(".")
        if field.default:
            assert defaults[section][key]["type"] == field.default
        if field.unchecked:
            assert [choice["type"] for choice in defaults[section][key]] == list(field.unchecked)


def test_every_field_that_holds_plugins_is_in_the_table():
    """A field whose type is a plug-in choice but that no row names would keep its options unchecked."""
    holding = {
        f"{section}.{key}"
        for section, declared in Recipe.model_fields.items()
        if isinstance(declared.annotation, type) and issubclass(declared.annotation, BaseModel)
        for key, inner in declared.annotation.model_fields.items()
        if PluginChoice.__name__ in str(inner.annotation)
    }
    assert holding == {field.path for field in PLUGIN_FIELDS}


@pytest.mark.parametrize(
    ("path", "is_path"),
    [
        ("model.base", True),
        ("data.sources.0.path", True),
        ("data.evaluation.dev", True),
        ("data.evaluation.dev.path", True),
        ("data.sources.0.license", False),
        ("data.evaluation.dev.license", False),
        ("data.evaluation", False),
        ("name", False),
        ("train.method.path", False),
    ],
)
def test_variables_are_for_these_fields_only(path: str, is_path: bool):
    assert is_path_field(path) is is_path


def test_path_texts_are_found_in_both_forms_of_an_evaluation_set():
    plain = {
        "data": {"sources": [{"path": "a", "form": "auto"}], "evaluation": {"x": "b", "y": {"path": "c", "form": "d"}}},
        "model": {"base": "e"},
    }
    assert [text for _, text in iterate_path_texts(plain)] == ["a", "b", "c", "e"]


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("plain", "plain"),
        ("${A}/x", "/a/x"),
        ("${A}${B_2}", "/a/b"),
        ("$A/x", "$A/x"),
        ("${}", "${}"),
        ("${1A}", "${1A}"),
        ("${A", "${A"),
        ("{A}", "{A}"),
    ],
)
def test_only_braces_with_a_name_are_variables(text: str, expanded: str):
    assert expand_variables(text, {"A": "/a", "B_2": "/b"}) == expanded


def test_a_value_that_looks_like_a_variable_is_not_expanded_again():
    assert expand_variables("${A}", {"A": "${B}", "B": "x"}) == "${B}"
    assert find_variables("${A}/${B}/${A}") == ("A", "B", "A")


def test_an_absolute_path_wins_over_the_base_folder():
    assert resolve_path("/x/y", Path("/base"), {}) == Path("/x/y")
    assert resolve_path("${A}/y", Path("/base"), {"A": "rel"}) == Path("/base/rel/y")
    with pytest.raises(EnvironmentLacks, match="NOPE"):
        resolve_path("${NOPE}", Path("/base"), {"A": "x"})


def test_a_tree_is_changed_by_copy_and_keeps_the_order_of_keys():
    tree = from_value({"a": {"b": 1, "c": 2}, "d": 3}, "here")
    assert isinstance(tree, MapNode)
    changed = put_node(tree, "a.b", ScalarNode(9, "there"))
    assert to_value(changed) == {"a": {"b": 9, "c": 2}, "d": 3}
    assert to_value(tree) == {"a": {"b": 1, "c": 2}, "d": 3}
    assert list(put_node(changed, "a.e.f", ScalarNode(1, "there")).entries) == ["a", "d"]
    assert to_value(put_node(tree, "a", None)) == {"d": 3}
    assert to_value(put_node(tree, "z", None)) == to_value(tree)
    assert find_origin(changed, "a.b") == "there"
    assert find_origin(changed, "a.nothing.below") == "here"


@pytest.mark.parametrize("path", ["a.5", "a.-1", "a.x", "a.0.b", "b", "a.99999999999999"])
def test_a_path_that_leads_nowhere_finds_nothing(path: str):
    assert find_node(from_value({"a": [1, 2]}, ""), path) is None


def test_leaves_are_scalars_and_what_is_empty():
    value = {"a": [1, {"b": None}], "c": {}, "d": [], "e": "x"}
    assert list(iterate_leaves(value)) == [("a.0", 1), ("a.1.b", None), ("c", {}), ("d", []), ("e", "x")]


@settings(deadline=None, max_examples=40)
@given(st.recursive(st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text("abc"), inner)))
def test_leaves_can_be_found_again_by_their_path(value: object):
    tree = from_value({"root": value}, "")
    for path, leaf in iterate_leaves({"root": value}):
        if "" not in path.split("."):
            found = find_node(tree, path)
            assert found is not None
            assert to_value(found) == leaf


@pytest.mark.parametrize(
    ("value", "shown"),
    [("auto", "auto"), ("1", '"1"'), ("true", '"true"'), ("", '""'), (None, "null"), (1.5, "1.5"), ("a b", '"a b"')],
)
def test_values_are_shown_so_that_their_type_stays(value: object, shown: str):
    assert show_value(value) == shown


class _Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    depth: int = 1


class _Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    inner: _Inner = _Inner()
    either: int | _Inner = 1


def complain(value: dict[str, Any]) -> tuple[Problem, ...]:
    tree = from_value(value, "f line 1")
    assert isinstance(tree, MapNode)
    complaints = Complaints(tree)
    with pytest.raises(ValidationError) as failed:
        _Outer.model_validate(value)
    complaints.add_validation(failed.value, _Outer)
    with pytest.raises(RecipeError) as caught:
        complaints.raise_if_any()
    return caught.value.problems


def test_nested_keys_know_their_siblings_and_their_default():
    (unknown,) = complain({"inner": {"dept": 1}})
    assert (unknown.field, unknown.fix) == ("inner.dept", "write inner.depth")
    (wrong,) = complain({"inner": {"depth": "deep"}})
    assert wrong.field == "inner.depth"
    assert "line 1" in wrong.origin


def test_the_deepest_branch_of_a_union_is_the_one_that_was_meant():
    assert [problem.field for problem in complain({"either": {"dept": 1}})] == ["either.dept"]
    assert [problem.field for problem in complain({"either": "x"})] == ["either"]


def test_no_complaint_raises_nothing_and_a_field_complains_once():
    complaints = Complaints(MapNode())
    complaints.raise_if_any()
    problem = Problem("E-REC-002", "wrong", field="a.b", fix="x")
    complaints.extend([problem, problem])
    assert complaints.has_any("a")
    assert not complaints.has_any("a.b.c")
    with pytest.raises(RecipeError) as caught:
        complaints.raise_if_any()
    assert len(caught.value.problems) == 1
