"""Text to tree: YAML or JSON, bounded in bytes, depth and what aliases unfold to.

YAML is read as a stream of events, so that neither deep nesting nor a bomb of aliases costs more than its bytes.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

import yaml

from luthier.foundation.core.errors import Problem, RecipeError, shorten
from luthier.foundation.core.log import redact
from luthier.foundation.recipe.nodes import ListNode, MapNode, Node, ScalarNode, ScalarValue, parse_scalar

MAX_BYTES: Final = 8 << 20
MAX_DEPTH: Final = 40
MAX_ALIASED_NODES: Final = 10_000
MAX_LISTED: Final = 1_000
"""Files of a folder that are looked through for the recipe that was meant."""

RECIPE_NAME: Final = "recipe.yaml"
"""What a recipe is called in a folder of its own, which a job or a run has."""

SUFFIXES: Final = frozenset({".yaml", ".yml", ".json"})

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG: Final = "tag:yaml.org,2002:"
_PLAIN_TAGS: Final = {f"{_TAG}{name}" for name in ("int", "float", "bool", "null")}
_TEXT_TAGS: Final = {f"{_TAG}str", "!"}
_COLLECTION_TAGS: Final = {f"{_TAG}map", f"{_TAG}seq", "!"}
_JSON_PART: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]]|[^\s,:{}\[\]"]+|\n')


def read_file(path: Path) -> str:
    """Read a recipe's text.

    Raises:
        RecipeError: E-REC-005 where there is no such UTF-8 file, E-REC-007 where it is too large.
    """
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "no file"
        raise RecipeError(
            "E-REC-005",
            f"there is {kind} at {shorten(str(path))}, where a recipe should be",
            got=str(path),
            allowed="a YAML or JSON file",
            fix=f"give the path of a recipe, such as {_find_meant(path) or 'recipes/banking77.yaml'}",
        )
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise RecipeError(
            "E-REC-007",
            f"{path} is too large for a recipe",
            got=f"{size} bytes",
            allowed=f"up to {MAX_BYTES} bytes",
            fix="name rows by path under data.sources",
        )
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise RecipeError(
            "E-REC-005",
            f"{path} is not UTF-8 text",
            got=repr(data[error.start : error.start + 8]),
            origin=f"{path} line {line}",
            allowed="UTF-8",
            fix=f"iconv -f LATIN1 -t UTF-8 {path} > fixed.yaml",
        ) from error


def _find_meant(path: Path) -> Path | None:
    """Return the recipe in a folder that was named, or a file beside it of nearly the name that was given."""
    folder = path if path.is_dir() else path.parent
    try:
        beside = islice(folder.iterdir(), MAX_LISTED)
        named = (each for each in beside if each.suffix in SUFFIXES and each.name.isprintable())
        names = sorted(each.name for each in named if each.is_file())
    except OSError:
        return None
    wanted = RECIPE_NAME if path.is_dir() else path.name
    nearest = difflib.get_close_matches(wanted, names, n=1, cutoff=0.7)
    return folder / nearest[0] if nearest else None


def parse_yaml(text: str, place: str, problems: list[Problem], *, has_lines: bool = True) -> Node:
    """Make a tree of YAML.

    Args:
        text: One YAML document.
        place: The file's name, or ``--set``.
        problems: Receives what is wrong but does not stop the reading, such as a key given twice.
        has_lines: Whether origins name lines.

    Raises:
        RecipeError: E-REC-006 for text that is not YAML, E-REC-007 beyond depth or alias bounds.
    """
    composer = _Composer(place, problems, has_lines=has_lines)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            composer.take(event)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        if mark is not None and mark.line > text.rstrip().count("\n"):  # the end of the text: show what is still open
            mark = getattr(error, "context_mark", None) or mark
        line = mark.line + 1 if mark is not None else None
        context = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise _syntax_error(f"{place} is not valid YAML: {context}", text, composer.origin(line), line) from error
    return composer.root()


def parse_json(text: str, place: str, problems: list[Problem]) -> Node:
    """Make a tree of JSON.

    Args:
        text: One JSON value.
        place: The file's name.
        problems: Receives keys that are given twice.

    Raises:
        RecipeError: E-REC-006 for text that is not JSON, E-REC-007 beyond the depth bound.
    """
    composer = _Composer(place, problems, has_lines=True)
    try:
        json.loads(text, parse_int=str)
    except RecursionError as error:
        raise composer.beyond("nesting", f"more than {MAX_DEPTH} levels", f"up to {MAX_DEPTH} levels", 1) from error
    except json.JSONDecodeError as error:
        origin = composer.origin(error.lineno)
        raise _syntax_error(f"{place} is not valid JSON: {error.msg}", text, origin, error.lineno) from error
    for event in _json_events(text):
        composer.take(event)
    return composer.root()


def _syntax_error(what: str, text: str, origin: str, line: int | None) -> RecipeError:
    lines = text.split("\n")
    got = lines[line - 1].strip("\r") if line is not None and line <= len(lines) else shorten(text, 40)
    fix = "indent with spaces, not tabs" if "\t" in got else "mend the line, for example by quoting its value"
    return RecipeError("E-REC-006", what, got=redact(got), origin=origin, allowed="YAML 1.2 or JSON", fix=fix)


def _json_events(text: str) -> Iterator[Any]:
    """Cut valid JSON into YAML's events; values arrive as typed text."""
    line = 0
    for match in _JSON_PART.finditer(text):
        part = match[0]
        line += part == "\n"
        mark = yaml.Mark("", 0, line, 0, "", 0)
        if part == "{":
            yield yaml.MappingStartEvent(None, None, True, mark, mark)
        elif part == "[":
            yield yaml.SequenceStartEvent(None, None, True, mark, mark)
        elif part == "}":
            yield yaml.MappingEndEvent(mark, mark)
        elif part == "]":
            yield yaml.SequenceEndEvent(mark, mark)
        elif part[0] == '"':
            yield yaml.ScalarEvent(None, None, (False, True), json.loads(part), mark, mark, style='"')
        elif part != "\n":
            plain = {"NaN": ".nan", "Infinity": ".inf", "-Infinity": "-.inf"}.get(part, part)
            yield yaml.ScalarEvent(None, None, (True, False), plain, mark, mark)


@dataclass(slots=True)
class _Frame:
    """A list or mapping that is still open."""

    is_map: bool
    origin: str
    anchor: str | None
    items: list[Node] = field(default_factory=list)
    entries: dict[str, Node] = field(default_factory=dict)
    key: str | None = None
    key_origin: str = ""
    size: int = 1


class _Composer:
    """Builds the tree from events, without recursion."""

    def __init__(self, place: str, problems: list[Problem], *, has_lines: bool) -> None:
        self._place = place
        self._problems = problems
        self._has_lines = has_lines
        self._frames: list[_Frame] = []
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._roots: list[Node] = []
        self._aliased = 0

    def origin(self, line: int | None) -> str:
        return f"{self._place} line {line}" if self._has_lines and line is not None else self._place

    def root(self) -> Node:
        return self._roots[0] if self._roots else ScalarNode(None, self.origin(1))

    def beyond(self, what: str, got: str, allowed: str, line: int) -> RecipeError:
        return RecipeError(
            "E-REC-007",
            f"{self._place} is beyond the bounds of a recipe: {what}",
            got=got,
            origin=self.origin(line),
            allowed=allowed,
            fix="write the values out, with less nesting and fewer aliases",
        )

    def take(self, event: Any) -> None:  # noqa: ANN401  yaml's events share no typed base
        line = event.start_mark.line + 1
        if isinstance(event, yaml.DocumentStartEvent) and self._roots:
            raise self._refuse("a recipe is one document", "---", line, "put further recipes into files of their own")
        if isinstance(event, yaml.AliasEvent):
            self._take_alias(str(event.anchor), line)
        elif isinstance(event, yaml.ScalarEvent):
            self._take_scalar(event, line)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._open(event, line)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._close()

    def _refuse(self, what: str, got: str, line: int, fix: str) -> RecipeError:
        return RecipeError("E-REC-006", what, got=got, origin=self.origin(line), allowed="plain YAML or JSON", fix=fix)

    def _take_alias(self, name: str, line: int) -> None:
        if name not in self._anchors:
            raise self._refuse(f"the alias *{name} has no finished anchor before it", f"*{name}", line, "write it out")
        node, size = self._anchors[name]
        self._aliased += size
        if self._aliased > MAX_ALIASED_NODES:
            raise self.beyond(
                "its aliases unfold to too many values",
                f"more than {MAX_ALIASED_NODES} values by way of aliases",
                f"up to {MAX_ALIASED_NODES}",
                line,
            )
        self._attach(node, size, line, None)

    def _take_scalar(self, event: Any, line: int) -> None:  # noqa: ANN401
        frame = self._frames[-1] if self._frames else None
        if frame is not None and frame.is_map and frame.key is None:
            self._take_key(frame, event.value, line)
            return
        self._attach(ScalarNode(self._resolve(event, line), self.origin(line)), 1, line, event.anchor)

    def _resolve(self, event: Any, line: int) -> ScalarValue:  # noqa: ANN401
        text: str = event.value
        if event.tag is None:
            return parse_scalar(text) if event.implicit[0] else text
        if event.tag in _TEXT_TAGS:
            return text
        if event.tag in _PLAIN_TAGS:
            return parse_scalar(text)
        raise self._refuse("tags that build objects are not read", event.tag, line, "leave the tag out")

    def _take_key(self, frame: _Frame, key: str, line: int) -> None:
        if key in frame.entries:
            first = frame.entries[key].origin
            self._problems.append(
                Problem(
                    "E-REC-004",
                    f"the key {shorten(key)!r} is given twice; it first stands at {first}",
                    got=shorten(key),
                    origin=self.origin(line),
                    allowed="each key once",
                    fix="keep one of the two lines",
                    field=shorten(key),
                )
            )
        frame.key = key
        frame.key_origin = self.origin(line)

    def _open(self, event: Any, line: int) -> None:  # noqa: ANN401
        if event.tag is not None and event.tag not in _COLLECTION_TAGS:
            raise self._refuse("tags that build objects are not read", event.tag, line, "leave the tag out")
        if len(self._frames) >= MAX_DEPTH:
            raise self.beyond("nesting", f"more than {MAX_DEPTH} levels", f"up to {MAX_DEPTH} levels", line)
        parent = self._frames[-1] if self._frames else None
        if parent is not None and parent.is_map and parent.key is None:
            raise self._refuse("a key must be text", "a list or mapping as a key", line, "write the key as text")
        self._frames.append(_Frame(isinstance(event, yaml.MappingStartEvent), self.origin(line), event.anchor))

    def _close(self) -> None:
        frame = self._frames.pop()
        node: Node = (
            MapNode(frame.entries, frame.origin) if frame.is_map else ListNode(tuple(frame.items), frame.origin)
        )
        self._attach(node, frame.size, None, frame.anchor)

    def _attach(self, node: Node, size: int, line: int | None, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = (node, size)
        if not self._frames:
            self._roots.append(node)
            return
        frame = self._frames[-1]
        frame.size += size
        if not frame.is_map:
            frame.items.append(node)
        elif frame.key is None:
            raise self._refuse("a key must be text", "an alias as a key", line or 1, "write the key as text")
        else:
            frame.entries.setdefault(frame.key, replace(node, origin=frame.key_origin))
            frame.key = None
