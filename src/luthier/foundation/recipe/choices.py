"""Plug-in fields of a recipe: one syntax, ``{type: X, option: …}`` or bare ``X``, checked by the plug-in itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from pydantic import ValidationError

from luthier.foundation import registry
from luthier.foundation.core.errors import Problem, RecipeError, shorten
from luthier.foundation.recipe.complaints import Complaints
from luthier.foundation.recipe.nodes import ListNode, MapNode, Node, ScalarNode, find_node, put_node, to_value
from luthier.foundation.recipe.planned_table import PLANNED
from luthier.foundation.schema.plugins import MethodConfig, PluginConfig, SuiteConfig


@dataclass(frozen=True, slots=True)
class PluginField:
    """Where a recipe names plug-ins.

    Attributes:
        path: Dotted path of the field.
        family: Whose names stand there.
        is_list: Whether several plug-ins stand there, in order.
        default: The plug-in taken where ``type`` is left out.
        words: What may stand there instead of a plug-in.
        unchecked: The section's own default, which is no choice of the user's: checked only when its stage runs.
    """

    path: str
    family: str
    is_list: bool = False
    default: str = ""
    words: frozenset[str] = frozenset()
    unchecked: tuple[str, ...] = ()


PLUGIN_FIELDS: Final = (
    PluginField("data.operators", "operators", is_list=True, words=frozenset({"default"})),
    PluginField("data.select", "selectors", words=frozenset({"none"})),
    PluginField("train.method", "methods", default="lora"),
    PluginField("train.objective", "objectives", default="sft"),
    PluginField("evaluate.suites", "suites", is_list=True),
    PluginField("deploy.exports", "exporters", is_list=True, unchecked=("adapter", "merged")),
    PluginField("deploy.target", "targets", words=frozenset({"none"})),
)
NAME_FIELDS: Final = (
    PluginField("plan.launcher", "launchers", words=frozenset({"auto"})),
    PluginField("train.backend", "backends", words=frozenset({"luthier"})),
)
"""Fields that hold a plug-in's bare name."""

OPTION_FAMILIES: Final = {"metrics": "metrics", "graders": "graders"}
"""Options of a plug-in that list plug-ins of another family, such as a suite's metrics."""

_QLORA_FIX: Final = "train.method: lora"


def normalise_choices(tree: MapNode, complaints: Complaints) -> MapNode:
    """Write every plug-in field in its long form, so that each option has a place and an origin.

    Args:
        tree: The recipe as written.
        complaints: Receives fields of another shape.

    Returns:
        The tree in which every plug-in is a mapping with ``type``.
    """
    tree = _expand_qlora(tree, complaints)
    for field in PLUGIN_FIELDS:
        node = find_node(tree, field.path)
        section = tree.entries.get(field.path.partition(".")[0])
        is_misshapen = section is not None and not isinstance(section, MapNode)
        if is_misshapen or (node is None and not field.default):
            continue
        tree = put_node(tree, field.path, _normalise_field(field, node))
    return tree


def _normalise_field(field: PluginField, node: Node | None) -> Node:
    if node is None:
        return MapNode({"type": ScalarNode(field.default, "default")}, "default")
    if isinstance(node, ScalarNode) and node.value in field.words:
        return node if "default" in field.words else replace(node, value=None)
    if not field.is_list:
        return _normalise_choice(node, field.default)
    if isinstance(node, ListNode):
        return replace(node, items=tuple(_normalise_choice(item, "") for item in node.items))
    return node


def _normalise_choice(node: Node, default: str) -> Node:
    if isinstance(node, ScalarNode) and isinstance(node.value, str):
        return MapNode({"type": node}, node.origin)
    if isinstance(node, MapNode) and "type" not in node.entries and default:
        return replace(node, entries={"type": ScalarNode(default, "default"), **node.entries})
    return node


def _expand_qlora(tree: MapNode, complaints: Complaints) -> MapNode:
    """Write the alias ``method: qlora`` out as what it stands for."""
    node = find_node(tree, "train.method")
    choice = _normalise_choice(node, "") if node is not None else None
    kind = choice.entries.get("type") if isinstance(choice, MapNode) else None
    if not isinstance(choice, MapNode) or not isinstance(kind, ScalarNode) or kind.value != "qlora":
        return tree
    entries = {**choice.entries, "type": replace(kind, value="lora")}
    tree = put_node(tree, "train.method", replace(choice, entries=entries))
    written = find_node(tree, "model.quantise")
    if isinstance(written, ScalarNode) and written.value != "nf4":
        complaints.add(
            Problem(
                "E-REC-008",
                "'train.method: qlora' stands for lora on a base quantised to nf4, and 'model.quantise' says otherwise",
                got=f"model.quantise: {written.value}",
                origin=written.origin,
                allowed="model.quantise: nf4, or method lora",
                fix=_QLORA_FIX,
                field="model.quantise",
            )
        )
        return tree
    return put_node(tree, "model.quantise", ScalarNode("nf4", kind.origin))


def resolve_choices(tree: MapNode, plain: dict[str, Any], complaints: Complaints) -> dict[str, PluginConfig]:
    """Check every plug-in by its config half and store its options with all defaults filled in.

    Args:
        tree: The normalised tree.
        plain: The recipe as plain values; each plug-in becomes ``{"type", "options"}`` here.
        complaints: Receives every problem, at its line.

    Returns:
        The config of each plug-in that is right, by dotted path.
    """
    configs: dict[str, PluginConfig] = {}
    for field in PLUGIN_FIELDS:
        node = find_node(tree, field.path)
        if node is not None:
            section, _, key = field.path.partition(".")
            _resolve_field(field, node, plain[section], key, _Found(configs, complaints))
    for field in NAME_FIELDS:
        node = find_node(tree, field.path)
        if isinstance(node, ScalarNode) and isinstance(node.value, str) and node.value not in field.words:
            _load_config(field, node.value, field.path, node.origin, complaints)
    _refuse_unsupported_quantisation(tree, configs, complaints)
    return configs


@dataclass(frozen=True, slots=True)
class _Found:
    configs: dict[str, PluginConfig]
    complaints: Complaints


def _resolve_field(field: PluginField, node: Node, section: dict[str, Any], key: str, found: _Found) -> None:
    is_word = isinstance(node, ScalarNode) and (
        node.value in field.words or (node.value is None and "none" in field.words)
    )
    if is_word:
        return
    if field.unchecked and to_value(node) == [{"type": name} for name in field.unchecked]:
        section[key] = [{"type": name, "options": {}} for name in field.unchecked]
    elif field.is_list and isinstance(node, ListNode):
        paths = [f"{field.path}.{index}" for index in range(len(node.items))]
        section[key] = [_resolve_choice(field, item, path, found) for item, path in zip(node.items, paths, strict=True)]
    elif field.is_list:
        found.complaints.add(_shape_problem(field, node, field.path))
        section.pop(key)
    else:
        section[key] = _resolve_choice(field, node, field.path, found)


def _resolve_choice(field: PluginField, node: Node, path: str, found: _Found) -> dict[str, Any]:
    complaints = found.complaints
    kind = node.entries.get("type") if isinstance(node, MapNode) else None
    if not isinstance(node, MapNode) or not isinstance(kind, ScalarNode) or not isinstance(kind.value, str):
        complaints.add(_shape_problem(field, node, path))
        return {"type": "", "options": {}}
    name = kind.value
    config_class = _load_config(field, name, f"{path}.type", kind.origin, complaints)
    if config_class is None:
        return {"type": name, "options": {}}
    written = {key: to_value(child) for key, child in node.entries.items() if key != "type"}
    try:
        config = config_class.model_validate_json(json.dumps(complaints.make_sound(written, path)), strict=True)
    except ValidationError as error:
        complaints.add_validation(error, config_class, root=path)
        return {"type": name, "options": {}}
    if isinstance(config, SuiteConfig) and config.name is None:
        config = config.model_copy(update={"name": name})
    found.configs[path] = config
    return {"type": name, "options": config.model_dump(mode="json")}


def _load_config(
    field: PluginField, name: str, path: str, origin: str, complaints: Complaints
) -> type[PluginConfig] | None:
    if name in PLANNED.get(field.family, ()) and name not in registry.get_rows(field.family):
        built = sorted({*registry.get_rows(field.family), *field.words})
        complaints.add(
            Problem(
                "E-REC-010",
                f"'{path}' names {name!r}, which this version does not build",
                got=name,
                origin=origin,
                allowed=", ".join(built) or f"none: leave '{field.path}' out",
                fix=f"{field.path}: {built[0]}" if built else f"leave '{field.path}' out",
                field=path,
            )
        )
        return None
    try:
        return registry.load_config(field.family, name)
    except RecipeError as error:
        complaints.extend(replace(problem, origin=origin, field=path) for problem in error.problems)
        return None


def _shape_problem(field: PluginField, node: Node, path: str) -> Problem:
    example = field.default or next(iter(registry.get_rows(field.family)), "X")
    wants_list = field.is_list and path == field.path
    return Problem(
        "E-REC-002",
        f"'{path}' must name " + ("a list of plug-ins" if wants_list else "a plug-in"),
        got=shorten(to_value(node)),
        origin=node.origin,
        allowed=f"{example} or {{type: {example}, option: value}}" + (", in a list" if wants_list else ""),
        fix=f"{field.path}: [{example}]" if field.is_list else f"{field.path}: {example}",
        field=path,
    )


def _refuse_unsupported_quantisation(
    tree: MapNode, configs: Mapping[str, PluginConfig], complaints: Complaints
) -> None:
    method = configs.get("train.method")
    node = find_node(tree, "model.quantise")
    if not isinstance(method, MethodConfig) or not isinstance(node, ScalarNode) or node.value != "nf4":
        return
    if "nf4" not in method.QUANTISATIONS:
        complaints.add(
            Problem(
                "E-REC-010",
                "'model.quantise' names 'nf4' (what `method: qlora` stands for), which this version does not build",
                got="nf4",
                origin=node.origin,
                allowed=", ".join(sorted(method.QUANTISATIONS)),
                fix="model.quantise: none, with train.method: lora",
                field="model.quantise",
            )
        )
