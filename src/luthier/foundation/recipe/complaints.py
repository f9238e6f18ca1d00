"""Problems of a recipe, collected: each at its line, unknown keys with the nearest name, floods cut with a count."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticUndefined

from luthier.foundation.core.errors import LuthierError, Problem, RecipeError, shorten
from luthier.foundation.core.log import redact
from luthier.foundation.recipe.nodes import MapNode, find_node, find_origin, get_child, show_value, to_value
from luthier.foundation.schema.sections import Recipe

MAX_NEAREST_SEARCHES: Final = 20
MAX_PROBLEMS: Final = 100
MAX_INTEGER: Final = 10**300  # beyond it a float would be infinite
MIN_LIKENESS: Final = 0.7  # difflib's ratio: "naem" is 0.75 like "name", "rank" 0.67 like "train"
MAX_KEY_CHARACTERS: Final = 80

_ALLOWED: Final = {
    "string_type": "text (put it in quotes)",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "literal_error": "{expected}",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "a number below {lt}",
    "less_than_equal": "{le} or less",
    "string_pattern_mismatch": "text that matches {pattern}",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "finite_number": "a finite number",
    "none_required": "null",
}


class Complaints:
    """What is wrong with one recipe.

    Attributes:
        tree: Where values stand; exchange it when the tree is rewritten.
    """

    def __init__(self, tree: MapNode) -> None:
        """Start without a complaint."""
        self.tree = tree
        self._problems: list[Problem] = []
        self._unknown = 0
        self._kept: set[tuple[str, str]] = set()
        self._covered: set[str] = set()

    def add(self, problem: Problem) -> None:
        """Keep a problem, unless its field already has one of that code."""
        if problem.field and (problem.field, problem.code) in self._kept:
            return
        self._problems.append(problem)
        self._kept.add((problem.field, problem.code))
        path = problem.field
        while path and path not in self._covered:
            self._covered.add(path)
            path = path.rpartition(".")[0]

    def extend(self, problems: Iterable[Problem]) -> None:
        """Keep several problems."""
        for problem in problems:
            self.add(problem)

    def has_any(self, path: str) -> bool:
        """Tell whether something at or below a path is already complained about."""
        return path in self._covered

    def make_sound(self, value: Any, path: str) -> Any:  # noqa: ANN401  any JSON value
        """Return a value without what no recipe can hold: infinities, NaN, half characters; each complained about."""
        if isinstance(value, Mapping):
            sound = {key: self.make_sound(child, f"{path}.{key}".lstrip(".")) for key, child in value.items()}
            return {key: child for key, child in sound.items() if self._is_sound_key(key, path)}
        if isinstance(value, list):
            return [self.make_sound(child, f"{path}.{index}".lstrip(".")) for index, child in enumerate(value)]
        if isinstance(value, str) and not is_text(value):
            self.add(self._value_problem(path, value, {"text without lone surrogates"}, Recipe))
            return None
        is_too_large = type(value) is int and abs(value) > MAX_INTEGER
        if is_too_large or (isinstance(value, float) and not math.isfinite(value)):
            self.add(self._value_problem(path, value, {"a finite number"}, Recipe))
            return None
        return value

    def _is_sound_key(self, key: str, path: str) -> bool:
        if is_text(key):
            return True
        path = f"{path}.{key}".lstrip(".")
        origin = find_origin(self.tree, path)
        problem = Problem("E-REC-001", f"there is no key {key!a}", got=ascii(key), origin=origin, field=ascii(path))
        self.add(replace(problem, allowed="text without lone surrogates", fix="take the key out"))
        return False

    def add_validation(self, error: ValidationError, model: type[BaseModel], root: str = "") -> None:
        """Turn what pydantic found into problems with paths, lines and names.

        Args:
            error: The failed validation.
            model: The class that was validated.
            root: Dotted path at which the class stands.
        """
        rules: dict[str, list[ErrorDetails]] = {}
        for details in error.errors(include_url=False):
            if details["type"] == "extra_forbidden":
                self._unknown += 1
                if self._unknown <= MAX_NEAREST_SEARCHES:
                    self._add_unknown(self._find_path(details, root), model, root)
                continue
            path = self._find_path(details, root)
            cause = details.get("ctx", {}).get("error")
            if details["type"] == "missing":
                self.add(self._missing_problem(path))
            elif isinstance(cause, LuthierError):  # a plug-in that an option names, such as a suite's metric
                origin = find_origin(self.tree, path)
                self.extend(replace(problem, origin=origin, field=path) for problem in cause.problems)
            else:
                rules.setdefault(path, []).append(details)
        for path, found in rules.items():
            if not self.has_any(path):  # a union complains at every branch; the deepest branch was meant
                allowed = {_describe_rule(details) for details in found}
                self.add(self._value_problem(path, found[0]["input"], allowed, model, root))

    def raise_if_any(self) -> None:
        """Raise everything that was found.

        Raises:
            RecipeError: With every problem, in the order of lines, cut after a hundred.
        """
        if not self._problems and self._unknown <= MAX_NEAREST_SEARCHES:
            return
        ordered = sorted(self._problems, key=lambda problem: _line_of(problem.origin))
        shown = ordered[:MAX_PROBLEMS]
        hidden = len(ordered) - len(shown)
        if self._unknown > MAX_NEAREST_SEARCHES:
            shown.append(_flood_problem("E-REC-001", f"{self._unknown - MAX_NEAREST_SEARCHES} more unknown keys"))
        if hidden:
            shown.append(_flood_problem("E-REC-002", f"{hidden} more problems"))
        raise RecipeError.collect(shown)

    def _find_path(self, details: ErrorDetails, root: str) -> str:
        """Map pydantic's location, which names union branches too, to a dotted path of the tree."""
        location: Sequence[str | int] = details["loc"]
        node = find_node(self.tree, root) if root else self.tree
        path = [root] if root else []
        for position, part in enumerate(location):
            child = get_child(node, str(part))
            is_missing_key = details["type"] == "missing" and position == len(location) - 1
            if child is None and not is_missing_key:
                continue
            node = child
            path.append(str(part))
        return ".".join(path)

    def _add_unknown(self, path: str, model: type[BaseModel], root: str) -> None:
        parent, _, key = path.rpartition(".")
        names = _field_names(model, parent.removeprefix(root).strip("."))
        if root and parent == root:
            names = [*names, "type"]
        nearest = difflib.get_close_matches(key[:MAX_KEY_CHARACTERS], names, n=1, cutoff=MIN_LIKENESS)
        elsewhere = _KNOWN_ELSEWHERE.get(key)
        hint = f"; nearest is {nearest[0]!r}" if nearest else f"; it belongs to '{elsewhere}'" if elsewhere else ""
        where = f"in '{parent}'" if parent else "at the top of a recipe"
        shown_parent = f"{parent}." if parent else ""
        self.add(
            Problem(
                "E-REC-001",
                f"there is no key {shorten(key, MAX_KEY_CHARACTERS)!r} {where}{hint}",
                got=shorten(key, MAX_KEY_CHARACTERS),
                origin=find_origin(self.tree, path),
                allowed=", ".join(names) or "no options",
                fix=f"write {shown_parent}{nearest[0]}" if nearest else "take the key out",
                field=shorten(path),
            )
        )

    def _missing_problem(self, path: str) -> Problem:
        example = _EXAMPLES.get(path.rpartition(".")[2], "…")
        return Problem(
            "E-REC-003",
            f"'{path}' is required",
            got="nothing",
            origin=find_origin(self.tree, path),
            allowed=f"for example {example}",
            fix=f"{path.rpartition('.')[2]}: {example}",
            field=path,
        )

    def _value_problem(
        self, path: str, value: object, allowed: set[str], model: type[BaseModel], root: str = ""
    ) -> Problem:
        node = find_node(self.tree, path)
        got = to_value(node) if node is not None else value
        default = _find_default(model, path.removeprefix(root).strip("."))
        fix = f"{path}: {show_value(default)}" if default is not None else f"change or take out '{path}'"
        return Problem(
            "E-REC-002",
            f"'{path}' does not accept this value",
            got=redact(shorten(got)),
            origin=find_origin(self.tree, path),
            allowed=" or ".join(sorted(allowed)),
            fix=fix,
            field=path,
        )


def is_text(value: str) -> bool:
    """Tell whether a string can be written as UTF-8; half a surrogate pair cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


_EXAMPLES: Final = {
    "name": "support-desk",
    "path": "data/train.jsonl",
    "metric": "task.exact_match",
    "type": "lora",
}


def _flood_problem(code: Any, what: str) -> Problem:  # noqa: ANN401  an ErrorCode
    return Problem(
        code, what, got=what, allowed="see `luthier recipe schema`", fix="mend those shown, then check again"
    )


def _describe_rule(details: ErrorDetails) -> str:
    context = details.get("ctx", {})
    template = _ALLOWED.get(details["type"])
    return template.format(**context) if template else shorten(details["msg"].removeprefix("Value error, "))


def _line_of(origin: str) -> tuple[int, int]:
    match = re.search(r"line (\d+)$", origin)
    return (0, int(match[1])) if match else (1, 0)


def _models_at(model: type[BaseModel], path: str) -> list[type[BaseModel]]:
    """Return the models whose fields may stand at a dotted path below a model."""
    found: list[type[BaseModel]] = [model]
    for key in path.split(".") if path else []:
        inner: list[type[BaseModel]] = []
        for candidate in found:
            declared = candidate.model_fields.get(key)
            inner += _models_in(declared.annotation) if declared is not None else [candidate]
        found = inner
    return found


def _models_in(annotation: Any) -> list[type[BaseModel]]:  # noqa: ANN401  a type expression
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]


def _field_names(model: type[BaseModel], path: str) -> list[str]:
    return [name for candidate in _models_at(model, path) for name in candidate.model_fields]


def _find_default(model: type[BaseModel], path: str) -> str | int | float | bool | None:
    parent, _, key = path.rpartition(".")
    for candidate in _models_at(model, parent):
        declared = candidate.model_fields.get(key)
        if declared is not None and declared.default is not PydanticUndefined:
            default = declared.default
            return default if isinstance(default, str | int | float) else None
    return None


def _index_leaves() -> dict[str, str]:
    known: dict[str, str] = {}
    for section, declared in Recipe.model_fields.items():
        for model in _models_in(declared.annotation):
            for name in model.model_fields:
                known.setdefault(name, f"{section}.{name}")
    return known


_KNOWN_ELSEWHERE: Final = _index_leaves()
