"""From a file, a mapping or a built ``Recipe`` to the resolved recipe: defaults < recipe < ``--set``.

Read me first. Every problem is collected and raised once; nothing here reaches the tensor stack.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from luthier.foundation.core.errors import EnvironmentLacks, Problem, RecipeError, shorten
from luthier.foundation.core.log import redact
from luthier.foundation.recipe.checks import check_recipe, iterate_path_texts
from luthier.foundation.recipe.choices import OPTION_FAMILIES, PLUGIN_FIELDS, normalise_choices, resolve_choices
from luthier.foundation.recipe.complaints import Complaints, is_text
from luthier.foundation.recipe.nodes import (
    ListNode,
    MapNode,
    Node,
    ScalarNode,
    find_node,
    find_origin,
    from_value,
    get_child,
    iterate_leaves,
    put_node,
    to_value,
)
from luthier.foundation.recipe.paths import expand_variables
from luthier.foundation.recipe.text import parse_json, parse_yaml, read_file
from luthier.foundation.schema.sections import Recipe

DEFAULT_ORIGIN: Final = "default"
OVERRIDE_ORIGIN: Final = "--set"
MAPPING_ORIGIN: Final = "recipe"
_OVERRIDE_KEY: Final = re.compile(r"[^\s.=]+(\.[^\s.=]+)*")
_PLUGIN_PATHS: Final = {field.path for field in PLUGIN_FIELDS if not field.is_list}


@dataclass(frozen=True, slots=True)
class ResolvedRecipe:
    """A recipe that is right, and where each of its values comes from.

    Attributes:
        recipe: All values; plug-in options with their defaults; paths as written.
        origins: Dotted path of every leaf, in recipe syntax, to ``default``, ``FILE line N`` or ``--set``.
        base_folder: Where relative paths start.
        place: The file's path as given, or ``recipe`` for one that was built in Python.
    """

    recipe: Recipe
    origins: Mapping[str, str]
    base_folder: Path
    place: str

    def to_mapping(self) -> dict[str, Any]:
        """Return the whole recipe in recipe syntax; loading it again gives the same recipe."""
        return write_recipe(self.recipe)

    def show(self) -> list[tuple[str, object, str]]:
        """Return every leaf as dotted path, value and origin."""
        return [(path, value, self.origins[path]) for path, value in iterate_leaves(self.to_mapping())]


def load_recipe(
    source: str | Path | Mapping[str, Any] | Recipe,
    *,
    overrides: Sequence[str] = (),
    environment: Mapping[str, str],
    base_folder: Path | None = None,
) -> ResolvedRecipe:
    """Load, override, check and resolve a recipe.

    Args:
        source: A YAML or JSON file, plain values, or a recipe built in Python.
        overrides: ``dotted.key=value`` each; values are YAML, lists are replaced.
        environment: Variables for ``${VAR}`` in paths.
        base_folder: Where relative paths start; by default the file's folder, else the current one.

    Raises:
        RecipeError: E-REC-001 to E-REC-013, all at once, each with its line.
        EnvironmentLacks: E-ENV-002 for a variable that a path needs and that is not set.
    """
    problems: list[Problem] = []
    tree, place = _read_tree(source, problems)
    if base_folder is None:
        base_folder = Path(source).parent if isinstance(source, str | Path) else Path()
    tree = _apply_overrides(_drop_empty_sections(tree), overrides, problems)
    complaints = Complaints(tree)
    complaints.extend(problems)
    tree = normalise_choices(tree, complaints)
    complaints.tree = tree
    recipe = _validate(tree, complaints)
    origins = {path: _find_leaf_origin(tree, path) for path, _ in iterate_leaves(write_recipe(recipe))}
    _check_variables_set(recipe, origins, environment)
    return ResolvedRecipe(recipe, origins, base_folder, place)


def write_recipe(recipe: Recipe, *, exclude_unset: bool = False) -> dict[str, Any]:
    """Return a recipe as plain values in recipe syntax: ``{type: X, option: …}``.

    Args:
        recipe: Any recipe.
        exclude_unset: Whether to leave out what was not given.
    """
    plain: dict[str, Any] = recipe.model_dump(mode="json", exclude_unset=exclude_unset)
    for field in PLUGIN_FIELDS:
        section, _, key = field.path.partition(".")
        value = plain.get(section, {}).get(key)
        if isinstance(value, list):
            plain[section][key] = [_flatten(choice) for choice in value]
        elif isinstance(value, dict):
            plain[section][key] = _flatten(value)
    return plain


def _flatten(choice: Mapping[str, Any]) -> dict[str, Any]:
    """Write one choice in recipe syntax, the plug-ins that its options list too."""
    options = dict(choice.get("options", {}))
    for name in OPTION_FAMILIES.keys() & options.keys():
        listed = options[name]
        if isinstance(listed, list):
            options[name] = [_flatten(item) if isinstance(item, dict) and "type" in item else item for item in listed]
    return {"type": choice["type"], **options}


def _read_tree(source: str | Path | Mapping[str, Any] | Recipe, problems: list[Problem]) -> tuple[MapNode, str]:
    if isinstance(source, Recipe):
        source = write_recipe(source, exclude_unset=True)
    if isinstance(source, Mapping):
        place = MAPPING_ORIGIN
        try:
            node = from_value(source, place)
        except (TypeError, RecursionError) as error:
            raise _not_a_mapping(place, place, str(error)) from error
    else:
        path = Path(source)
        place = str(source)
        text = read_file(path)
        parse = parse_json if path.suffix.lower() == ".json" and text.strip() else parse_yaml
        node = parse(text, place, problems)
    if not isinstance(node, MapNode):
        empty = isinstance(node, ScalarNode) and node.value is None
        kind = "nothing" if empty else "a list" if isinstance(node, ListNode) else shorten(to_value(node))
        raise _not_a_mapping(place, node.origin, kind)
    return node, place


def _not_a_mapping(place: str, origin: str, got: str) -> RecipeError:
    return RecipeError(
        "E-REC-006",
        f"{place} is not a recipe: a recipe is one mapping of keys to values",
        got=got,
        origin=origin,
        allowed="keys such as name, data, model, train",
        fix="begin with `name: my-first-model`",
    )


def _drop_empty_sections(tree: MapNode) -> MapNode:
    """Take out sections under which nothing stands, such as those whose lines are all comments."""
    sections = set(Recipe.model_fields) - {"luthier", "name", "seed"}
    empty = [key for key, node in tree.entries.items() if key in sections and _is_null(node)]
    for key in empty:
        tree = put_node(tree, key, None)
    return tree


def _is_null(node: Node | None) -> bool:
    return isinstance(node, ScalarNode) and node.value is None


def _apply_overrides(tree: MapNode, overrides: Sequence[str], problems: list[Problem]) -> MapNode:
    for override in overrides:
        try:
            key, value = _parse_override(override, problems)
            tree = _set(tree, key, value)
        except RecipeError as error:
            problems.extend(error.problems)
    return tree


def _parse_override(override: str, problems: list[Problem]) -> tuple[str, Node]:
    key, equals, text = override.partition("=")
    if not equals or not _OVERRIDE_KEY.fullmatch(key) or not is_text(override):
        raise _bad_override(override, "'--set' takes dotted.key=value", "--set train.epochs=1")
    try:
        return key, parse_yaml(text, OVERRIDE_ORIGIN, problems, has_lines=False)
    except RecipeError as error:
        if error.code == "E-REC-007":
            raise
        raise _bad_override(override, error.problems[0].what, f"quote the value: --set '{key}=\"…\"'") from error


def _bad_override(override: str, what: str, fix: str) -> RecipeError:
    return RecipeError(
        "E-REC-009",
        what,
        got=redact(override),
        origin=OVERRIDE_ORIGIN,
        allowed="dotted.key=value, where value is YAML",
        fix=fix,
    )


def _set(tree: MapNode, path: str, value: Node) -> MapNode:
    parts = path.split(".")
    for depth in range(1, len(parts)):
        parent = ".".join(parts[:depth])
        node = find_node(tree, parent)
        if isinstance(node, ScalarNode) and parent in _PLUGIN_PATHS and isinstance(node.value, str):
            tree = put_node(tree, parent, MapNode({"type": node}, node.origin))
        elif node is not None and not isinstance(node, MapNode) and not _is_null(node):
            reason = "a list, and lists are replaced whole" if isinstance(node, ListNode) else "no section"
            raise _bad_override(path, f"'{parent}' is {reason}", f"--set '{parent}=…'")
    return put_node(tree, path, value)


def _validate(tree: MapNode, complaints: Complaints) -> Recipe:
    plain = complaints.make_sound(to_value(tree), "")
    configs = resolve_choices(tree, plain, complaints)
    recipe: Recipe | None = None
    try:
        recipe = Recipe.model_validate_json(json.dumps(plain), strict=True)
    except ValidationError as error:
        complaints.add_validation(error, Recipe)
    check_recipe(plain, configs, complaints)
    complaints.raise_if_any()
    assert recipe is not None, "a recipe without a complaint is valid"  # noqa: S101  our own invariant
    return recipe


def _find_leaf_origin(tree: MapNode, path: str) -> str:
    """Return the origin of a leaf that was written, else ``default``."""
    node: Node | None = tree
    for key in path.split("."):
        if isinstance(node, ScalarNode) and key == "type":  # a bare name, such as a metric's
            return node.origin
        node = get_child(node, key)
        if node is None:
            return DEFAULT_ORIGIN
    return find_origin(tree, path)


def _check_variables_set(recipe: Recipe, origins: Mapping[str, str], environment: Mapping[str, str]) -> None:
    """Name each variable that is not set once, at the first path that needs it."""
    problems: dict[str, Problem] = {}
    for path, text in iterate_path_texts(write_recipe(recipe)):
        try:
            expand_variables(text, environment, field=path, origin=origins[path])
        except EnvironmentLacks as error:
            problems.setdefault(error.problems[0].fix, error.problems[0])
    if problems:
        raise EnvironmentLacks.collect(problems.values())
