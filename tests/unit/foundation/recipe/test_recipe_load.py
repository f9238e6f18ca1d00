"""What a recipe becomes: precedence, origins, plug-in syntax, variables, the round trip."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.foundation.core.errors import EnvironmentLacks, RecipeError
from luthier.foundation.recipe.nodes import find_node, from_value, iterate_leaves, show_value, to_value
from luthier.foundation.recipe.paths import resolve_path
from luthier.foundation.recipe.resolve import load_recipe
from luthier.foundation.recipe.text import parse_json, parse_yaml
from luthier.foundation.schema.sections import DataSection, PluginChoice, Recipe, Source, TrainSection

SMALLEST = {"name": "desk", "data": {"sources": [{"path": "rows.jsonl"}]}}

DESIGN_RECIPE = """\
luthier: 1
name: support-desk
seed: 0
data:
  sources: [{path: data/train.jsonl, format: auto, weight: 1, license: MIT, basis: contract}]
  operators: [unicode, {type: dedupe}]
  split: {validation: 0.1, test: 0.1, by: conversation}
  evaluation: {}
model: {base: smollm2-135m-instruct, quantise: none}
plan: {launcher: auto, memory_limit: auto, precision: auto, probes: 200}
train:
  method: {type: lora, rank: 16}
  objective: sft
  max_length: 2048
  too_long: refuse
  batch_tokens: auto
  epochs: 3
  learning_rate: 1e-4
evaluate:
  suites: [{type: task, on: test, metrics: [exact_match, tool_call]}, {type: forgetting}]
  gates:
    - {metric: task.exact_match, above: base, alpha: 0.05}
deploy: {exports: [adapter, merged], target: none}
monitor: {false_alarm_rate: 0.01, retune: suggest}
govern: {use: commercial, jurisdiction: EU, approvals: 0, sign: auto}
"""


def test_the_recipe_of_the_design_loads_with_the_origin_of_every_leaf(tmp_path: Path):
    path = tmp_path / "desk.yaml"
    path.write_text(DESIGN_RECIPE)
    resolved = load_recipe(path, environment={})
    assert resolved.recipe.train.learning_rate == 1e-4, "YAML 1.2 reads 1e-4 as a number"
    assert resolved.recipe.evaluate.suites[0].options["on"] == "test", "YAML 1.2 reads the key `on` as text"
    assert resolved.recipe.train.method.options["rank"] == 16
    assert resolved.recipe.deploy.target is None
    assert resolved.base_folder == tmp_path
    origins = resolved.origins
    assert set(origins) == {leaf for leaf, _ in iterate_leaves(resolved.to_mapping())}
    assert origins["train.method.rank"] == f"{path} line 12"
    assert origins["train.objective.type"] == f"{path} line 13"
    assert origins["evaluate.gates.0.metric"] == f"{path} line 22"
    assert origins["evaluate.suites.0.metrics.1.type"] == f"{path} line 20", "a metric's bare name has its line too"
    assert origins["train.method.alpha"] == "default"
    assert origins["monitor.retune"] == f"{path} line 24"


def test_json_and_yaml_of_one_recipe_are_equal_and_json_knows_its_lines(tmp_path: Path):
    (tmp_path / "a.yaml").write_text(DESIGN_RECIPE)
    plain = to_value(parse_yaml(DESIGN_RECIPE, "a", []))
    (tmp_path / "a.json").write_text(json.dumps(plain, indent="\t"))  # tabs are fine in JSON
    first = load_recipe(tmp_path / "a.yaml", environment={})
    second = load_recipe(tmp_path / "a.json", environment={})
    assert first.recipe == second.recipe
    assert second.origins["seed"] == f"{tmp_path / 'a.json'} line 4"


def test_a_bare_name_an_empty_section_and_a_left_out_type_mean_what_they_say():
    bare = load_recipe({**SMALLEST, "train": {"method": "lora"}, "plan": None}, environment={}).recipe
    typeless = load_recipe({**SMALLEST, "train": {"method": {}}}, environment={}).recipe
    assert bare == typeless == load_recipe(SMALLEST, environment={}).recipe
    assert bare.train.method.type == "lora"
    assert bare.train.method.options["rank"] > 0, "defaults of options are stored, so that cache keys see them"


def test_set_wins_over_the_file_and_lists_are_replaced():
    recipe = {**SMALLEST, "train": {"epochs": 3, "method": "lora"}, "data": {"sources": [{"path": "a"}, {"path": "b"}]}}
    overrides = ["train.epochs=1", "data.sources=[{path: c}]", "train.method.rank=4", "govern.jurisdiction=US"]
    resolved = load_recipe(recipe, overrides=overrides, environment={})
    assert resolved.recipe.train.epochs == 1
    assert [source.path for source in resolved.recipe.data.sources] == ["c"]
    assert resolved.recipe.train.method.options["rank"] == 4
    for path in ("train.epochs", "data.sources.0.path", "train.method.rank", "govern.jurisdiction"):
        assert resolved.origins[path] == "--set"
    assert resolved.origins["train.method.type"] == "recipe"


def test_a_recipe_built_in_python_loads_like_its_text():
    built = Recipe(
        name="desk",
        data=DataSection(sources=(Source(path="rows.jsonl"),)),
        train=TrainSection(method=PluginChoice(type="lora", options={"rank": 4})),
    )
    text = {**SMALLEST, "train": {"method": {"type": "lora", "rank": 4}}}
    assert load_recipe(built, environment={}).recipe == load_recipe(text, environment={}).recipe


def test_variables_are_kept_as_written_and_expanded_on_demand(tmp_path: Path):
    recipe = {"name": "desk", "data": {"sources": [{"path": "${ROOT}/rows.jsonl"}], "evaluation": {"e": "${ROOT}/e"}}}
    resolved = load_recipe(recipe, environment={"ROOT": str(tmp_path)})
    assert resolved.recipe.data.sources[0].path == "${ROOT}/rows.jsonl"
    assert resolve_path("${ROOT}/rows.jsonl", Path("/base"), {"ROOT": str(tmp_path)}) == tmp_path / "rows.jsonl"
    assert resolve_path("rows.jsonl", Path("/base"), {}) == Path("/base/rows.jsonl")
    with pytest.raises(EnvironmentLacks) as caught:
        load_recipe(recipe, environment={"ROOT": ""})
    (problem,) = caught.value.problems  # one sentence a variable, however many paths need it
    assert problem.field == "data.sources.0.path"
    assert (problem.code, caught.value.exit_code) == ("E-ENV-002", 4)
    assert "ROOT" in problem.what
    assert problem.fix == "export ROOT=/path/to/folder"
    assert problem.origin == "recipe"


def test_qlora_is_an_alias_that_is_written_out_and_then_refused_as_not_built():
    with pytest.raises(RecipeError) as caught:
        load_recipe({**SMALLEST, "train": {"method": "qlora"}}, environment={})
    problem = caught.value.problems[0]
    assert (problem.code, problem.field, problem.got) == ("E-REC-010", "model.quantise", "nf4")
    contradiction = {**SMALLEST, "model": {"quantise": "none"}, "train": {"method": {"type": "qlora", "rank": 4}}}
    with pytest.raises(RecipeError) as caught:
        load_recipe(contradiction, environment={})
    assert [problem.code for problem in caught.value.problems] == ["E-REC-008"]


def test_a_resolved_recipe_written_out_loads_as_itself(tmp_path: Path):
    (tmp_path / "desk.yaml").write_text(DESIGN_RECIPE)
    resolved = load_recipe(tmp_path / "desk.yaml", environment={})
    again = load_recipe(resolved.to_mapping(), environment={})
    assert again.recipe == resolved.recipe
    assert again.to_mapping() == resolved.to_mapping()


SETTABLE = {
    "seed": st.integers(0, 2**53 - 1),
    "train.epochs": st.floats(1e-6, 1e12),
    "train.weight_decay": st.floats(0, 1e30),
    "plan.probes": st.integers(1, 10_000),
    "train.batch_tokens": st.just("auto") | st.integers(1, 10**12),
    "govern.jurisdiction": st.text().filter(lambda text: "${" not in text),
    "data.split.by": st.text(alphabet=st.characters(exclude_categories=["Cs"])).filter(lambda t: "${" not in t),
    "train.method.rank": st.integers(1, 64),
    "data.operators": st.lists(st.sampled_from(["unicode", "empty"]), max_size=4),
}


@settings(deadline=None)
@given(st.data())
def test_what_is_set_is_what_is_shown_with_its_origin(data: st.DataObject):
    path = data.draw(st.sampled_from(sorted(SETTABLE)))
    value = data.draw(SETTABLE[path])
    resolved = load_recipe(SMALLEST, overrides=[f"{path}={show_value(value)}"], environment={})
    shown = {leaf: (leaf_value, origin) for leaf, leaf_value, origin in resolved.show()}
    if path == "data.operators":
        assert [shown[f"{path}.{index}.type"][0] for index in range(len(value))] == value
    else:
        assert shown[path] == (value, "--set")
    written = [leaf for leaf, (_, origin) in shown.items() if origin == "--set"]
    assert all(leaf.startswith(path) for leaf in written), "one override moves nothing else"


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(JSON_VALUES)
def test_any_json_value_is_read_as_the_json_module_reads_it(value: object):
    text = json.dumps(value)
    assert to_value(parse_json(text, "x.json", [])) == json.loads(text)
    assert to_value(from_value(value, "x")) == json.loads(text)


@settings(deadline=None)
@given(JSON_VALUES)
def test_a_value_shown_in_one_line_is_read_back_by_yaml(value: object):
    assert to_value(parse_yaml(show_value(value), "--set", [])) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("yes", "yes"),
        ("true", True),
        ("~", None),
        ("", None),
        ("0o17", 15),
        ("0x1F", 31),
        ("017", 17),
        ("1e-4", 1e-4),
        (".5", 0.5),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("'1'", "1"),
        ("!!str 1", "1"),
        ("!!int '1'", 1),
        ("! 1", "1"),
    ],
)
def test_scalars_follow_the_core_schema_of_yaml_1_2(text: str, value: object):
    """Values from YAML 1.2.2, section 10.3.2, tag resolution of the core schema."""
    read = to_value(parse_yaml(text, "x", []))
    assert (read, type(read)) == (value, type(value))


def test_an_alias_is_shared_and_takes_the_line_of_its_key():
    tree = parse_yaml("a: &x {b: 1}\nc: *x\n", "f", [])
    node = find_node(tree, "c")
    assert node is not None
    assert (to_value(node), node.origin) == ({"b": 1}, "f line 2")
