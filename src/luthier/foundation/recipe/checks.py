"""Settings that are each allowed and cannot hold together: gates, suites, splits, variables outside paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from luthier.foundation.core.errors import Problem
from luthier.foundation.recipe.complaints import Complaints
from luthier.foundation.recipe.nodes import find_origin, iterate_leaves, to_value
from luthier.foundation.recipe.paths import find_variables
from luthier.foundation.schema.plugins import MethodConfig, ObjectiveConfig, PluginConfig, SuiteConfig
from luthier.foundation.schema.sections import EvaluateSection, Split

OWN_SPLITS: Final = ("train", "validation", "test")


def check_recipe(plain: Mapping[str, Any], configs: Mapping[str, PluginConfig], complaints: Complaints) -> None:
    """Find contradictions; fields of a wrong shape are left to the schema.

    Args:
        plain: The recipe as plain values, with problems still in it.
        configs: Configs of the plug-ins that are right, by dotted path.
        complaints: Receives what is found.
    """
    data = _get_map(plain, "data")
    evaluate = _get_map(plain, "evaluate")
    if "sources" not in data or data["sources"] == []:
        complaints.add(_missing_sources(complaints))
    _check_split(_get_map(data, "split"), complaints)
    _check_evaluation_names(_get_map(data, "evaluation"), complaints)
    _check_cell(_get_map(plain, "train"), configs, complaints)
    suites = {path: config for path, config in configs.items() if isinstance(config, SuiteConfig)}
    names = _check_suites(suites, _get_map(data, "evaluation"), complaints)
    all_suites_known = len(suites) == len(evaluate.get("suites") or [])
    for index, gate in enumerate(_get_list(evaluate, "gates")):
        if isinstance(gate, dict):
            _check_gate(f"evaluate.gates.{index}", gate, evaluate, complaints)
            if all_suites_known:
                _check_gate_metric(f"evaluate.gates.{index}", gate, names, complaints)
    _check_variables(complaints)


def _get_map(plain: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = plain.get(key)
    return value if isinstance(value, dict) else {}


def _get_list(plain: Mapping[str, Any], key: str) -> list[Any]:
    value = plain.get(key)
    return value if isinstance(value, list) else []


def _contradiction(complaints: Complaints, path: str, what: str, *, got: object, allowed: str, fix: str) -> None:
    origin = find_origin(complaints.tree, path)
    complaints.add(Problem("E-REC-008", what, got=str(got), origin=origin, allowed=allowed, fix=fix, field=path))


def _missing_sources(complaints: Complaints) -> Problem:
    return Problem(
        "E-REC-003",
        "'data.sources' must name at least one file of rows",
        got="nothing",
        origin=find_origin(complaints.tree, "data.sources"),
        allowed="a list of {path: …}",
        fix="sources: [{path: data/train.jsonl}]",
        field="data.sources",
    )


def _check_cell(train: Mapping[str, Any], configs: Mapping[str, PluginConfig], complaints: Complaints) -> None:
    """Refuse an objective that compares with the base under a method that overwrites it."""
    method, objective = configs.get("train.method"), configs.get("train.objective")
    if not (isinstance(method, MethodConfig) and isinstance(objective, ObjectiveConfig)):
        return
    if objective.NEEDS_REFERENCE and not method.KEEPS_BASE:
        names = {family: _get_map(train, family).get("type") for family in ("method", "objective")}
        _contradiction(
            complaints,
            "train.method",
            f"the objective {names['objective']} compares with the base, which the method {names['method']} overwrites",
            got=f"method {names['method']}, objective {names['objective']}",
            allowed="a method that leaves the base as it is, such as lora",
            fix="train.method: lora",
        )


def _check_split(split: Mapping[str, Any], complaints: Complaints) -> None:
    defaults = Split()
    parts = [split.get("validation", defaults.validation), split.get("test", defaults.test)]
    if all(type(part) in (int, float) for part in parts) and sum(parts) >= 1.0:
        _contradiction(
            complaints,
            "data.split",
            "'data.split' leaves no rows for training",
            got=f"validation {parts[0]} and test {parts[1]}",
            allowed="a sum below 1",
            fix="split: {validation: 0.1, test: 0.1}",
        )


def _check_evaluation_names(evaluation: Mapping[str, Any], complaints: Complaints) -> None:
    for name in evaluation:
        if name in OWN_SPLITS:
            _contradiction(
                complaints,
                f"data.evaluation.{name}",
                f"'data.evaluation' cannot name a set {name!r}: the split has one of that name",
                got=name,
                allowed=f"any name but {', '.join(OWN_SPLITS)}",
                fix=f"rename it, for example held_out_{name}",
            )


def _check_suites(
    suites: Mapping[str, SuiteConfig], evaluation: Mapping[str, Any], complaints: Complaints
) -> dict[str, SuiteConfig]:
    """Return suites by name after refusing equal names and sets that do not exist."""
    named: dict[str, SuiteConfig] = {}
    for path, suite in suites.items():
        name = suite.name or ""
        if name in named:
            _contradiction(
                complaints,
                path,
                f"two suites are named {name!r}",
                got=name,
                allowed="each name once; a suite's name defaults to its type",
                fix=f"name: {name}_2",
            )
        named[name] = suite
        rows = getattr(suite, "on", None)
        known = [*OWN_SPLITS[1:], *evaluation]
        if isinstance(rows, str) and rows not in known:
            _contradiction(
                complaints,
                f"{path}.on",
                f"the suite {name!r} asks on {rows!r}, a set that 'data.evaluation' does not name",
                got=rows,
                allowed=", ".join(known),
                fix="on: test",
            )
    return named


def _check_gate(path: str, gate: Mapping[str, Any], evaluate: Mapping[str, Any], complaints: Complaints) -> None:
    rules = [rule for rule in ("above", "not_worse_than") if gate.get(rule) is not None]
    if len(rules) != 1:
        _contradiction(
            complaints,
            path,
            f"'{path}' needs exactly one of 'above' and 'not_worse_than'",
            got=" and ".join(rules) or "neither",
            allowed="one of the two, naming the system to compare with",
            fix="above: base",
        )
    systems = evaluate.get("systems", list(EvaluateSection().systems))
    for rule in rules:
        if isinstance(systems, list) and (gate[rule] not in systems or gate[rule] == "tuned"):
            _contradiction(
                complaints,
                f"{path}.{rule}",
                f"'{path}' compares with {gate[rule]!r}, which is no other system of 'evaluate.systems'",
                got=gate[rule],
                allowed=", ".join(str(system) for system in systems if system != "tuned"),
                fix=f"{rule}: base",
            )


def _check_gate_metric(
    path: str, gate: Mapping[str, Any], suites: Mapping[str, SuiteConfig], complaints: Complaints
) -> None:
    metric = gate.get("metric")
    if not isinstance(metric, str):
        return
    known = [f"{name}.{metric}" for name, suite in suites.items() for metric in suite.metric_names()]
    if metric not in known:
        _contradiction(
            complaints,
            f"{path}.metric",
            f"'{path}' names {metric!r}, which no suite of 'evaluate.suites' reports",
            got=metric,
            allowed=", ".join(known) or "none: 'evaluate.suites' is empty",
            fix=f"metric: {known[0]}" if known else "suites: [{type: task, on: test, metrics: [exact_match]}]",
        )


def _check_variables(complaints: Complaints) -> None:
    for path, value in iterate_leaves(to_value(complaints.tree)):
        if isinstance(value, str) and find_variables(value) and not is_path_field(path):
            _contradiction_of_variable(path, value, complaints)


def _contradiction_of_variable(path: str, value: str, complaints: Complaints) -> None:
    complaints.add(
        Problem(
            "E-REC-013",
            f"'{path}' is no path, and variables are expanded in paths only",
            got=value,
            origin=find_origin(complaints.tree, path),
            allowed="${NAME} in data.sources[].path, data.evaluation and model.base",
            fix=f"write the value of '{path}' itself",
            field=path,
        )
    )


def is_path_field(path: str) -> bool:
    """Tell whether a dotted path names a value in which ``${VAR}`` is expanded."""
    parts = path.split(".")
    return (
        path == "model.base"
        or (parts[:2] == ["data", "sources"] and parts[-1] == "path")
        or (parts[:2] == ["data", "evaluation"] and len(parts) >= 3 and (len(parts) == 3 or parts[-1] == "path"))
    )


def iterate_path_texts(plain: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield dotted path and text of every value in which variables are expanded."""
    for path, value in iterate_leaves(plain):
        if isinstance(value, str) and is_path_field(path):
            yield path, value
