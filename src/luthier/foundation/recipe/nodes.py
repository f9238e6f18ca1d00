"""A recipe as a tree in which every value knows the line that it came from.

Scalars follow YAML 1.2's core schema, under which ``on`` is text and ``1e-4`` is a number. Aliases are shared, never
copied, and what they would unfold to is counted. Read ``text.py`` next for how a file becomes a tree.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

ScalarValue = str | int | float | bool | None
MAX_INTEGER_DIGITS: Final = 4000  # below CPython's own limit of 4300, beyond which int() raises

_NULL = re.compile(r"~|null|Null|NULL|")
_TRUE = re.compile(r"true|True|TRUE")
_FALSE = re.compile(r"false|False|FALSE")
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_PLAIN = re.compile(r"[A-Za-z0-9_./$][A-Za-z0-9_./${}-]*")  # what YAML reads as it stands
_UNPRINTABLE = re.compile(r"[\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff\ufffe\uffff]")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


@dataclass(frozen=True, slots=True)
class ScalarNode:
    """One value."""

    value: ScalarValue
    origin: str


@dataclass(frozen=True, slots=True)
class ListNode:
    """A list of nodes."""

    items: tuple[Node, ...]
    origin: str


@dataclass(frozen=True, slots=True)
class MapNode:
    """Keys and nodes, in the order written. A child's origin is the line of its key."""

    entries: Mapping[str, Node] = field(default_factory=dict)
    origin: str = ""


Node = ScalarNode | ListNode | MapNode


def parse_scalar(text: str) -> ScalarValue:
    """Read a plain scalar by YAML 1.2's core schema.

    Args:
        text: The scalar as written, without quotes.

    Returns:
        The value; text that is no null, boolean or number stays text. Infinities and NaN become floats, for the
        caller to refuse. Whole numbers of absurd length stay text.

    Source:
        YAML 1.2.2, section 10.3.2.
    """
    if _NULL.fullmatch(text):
        return None
    if _TRUE.fullmatch(text):
        return True
    if _FALSE.fullmatch(text):
        return False
    if _INTEGER.fullmatch(text):
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        return int(text, base) if len(text) <= MAX_INTEGER_DIGITS else text
    if _FLOAT.fullmatch(text):
        return float(text)
    return float(text.replace(".", "")) if _NOT_FINITE.fullmatch(text) else text


def from_value(value: object, origin: str) -> Node:
    """Make a tree of plain Python values, all of one origin.

    Raises:
        TypeError: For a value that is neither JSON's nor a tuple.
    """
    if isinstance(value, Mapping):
        return MapNode({str(key): from_value(child, origin) for key, child in value.items()}, origin)
    if isinstance(value, list | tuple):
        return ListNode(tuple(from_value(child, origin) for child in value), origin)
    if value is None or isinstance(value, str | int | float | bool):
        return ScalarNode(value, origin)
    message = f"a recipe holds text, numbers, lists and mappings, not {type(value).__name__}"
    raise TypeError(message)


def to_value(node: Node) -> object:
    """Return plain Python values."""
    match node:
        case ScalarNode(value=value):
            return value
        case ListNode(items=items):
            return [to_value(item) for item in items]
        case MapNode(entries=entries):
            return {key: to_value(child) for key, child in entries.items()}


def get_child(node: Node | None, key: str) -> Node | None:
    """Return what stands under a key, or under an index written as text; None where nothing does."""
    if isinstance(node, MapNode):
        return node.entries.get(key)
    if isinstance(node, ListNode) and key.isdecimal() and len(key) < 10 and int(key) < len(node.items):
        return node.items[int(key)]
    return None


def find_node(node: Node | None, path: str) -> Node | None:
    """Return the node at a dotted path, or None."""
    for key in path.split("."):
        node = get_child(node, key)
    return node


def find_origin(tree: Node, path: str) -> str:
    """Return the origin of the deepest node on a dotted path: the place to look at."""
    origin = tree.origin
    node: Node | None = tree
    for key in path.split("."):
        node = get_child(node, key)
        if node is None:
            break
        origin = node.origin
    return origin


def put_node(tree: MapNode, path: str, node: Node | None) -> MapNode:
    """Return a tree with another node at a dotted path of mappings; None takes the key out."""
    key, _, rest = path.partition(".")
    if rest:
        child = tree.entries.get(key)
        inner = child if isinstance(child, MapNode) else MapNode({}, node.origin if node else tree.origin)
        node = put_node(inner, rest, node)
    entries = dict(tree.entries)
    if node is None:
        entries.pop(key, None)
    else:
        entries[key] = node
    return replace(tree, entries=entries)


def iterate_leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Yield dotted path and value of every leaf: scalars, empty lists and empty mappings."""
    children: list[tuple[str, object]] = []
    if isinstance(value, Mapping):
        children = [(str(key), child) for key, child in value.items()]
    elif isinstance(value, list | tuple):
        children = [(str(index), child) for index, child in enumerate(value)]
    if not children:
        yield path, value
    for key, child in children:
        yield from iterate_leaves(child, f"{path}.{key}" if path else key)


def show_value(value: object) -> str:
    """Write a value in one line that ``--set`` reads back as the same value."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and parse_scalar(value) == value:
        return value
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(value, ensure_ascii=False))
