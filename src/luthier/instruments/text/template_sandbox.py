"""The sandbox that chat templates run in: transformers' environment, bounded, and able to say who wrote what.

A chat template is code from elsewhere. It runs here as transformers runs it (same options, filters and globals),
but it cannot run without end or fill the memory, its clock stands still, and the compiled template carries hooks:
every loop over messages tells which message it is at, every generation block where it begins and ends.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock
from typing import Any, Final, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.ext import loopcontrols as loop_controls
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

MAX_CHARACTERS: Final = 1 << 24
"""Greatest length of a rendered conversation, and of any text that a template makes on its way."""

MAX_EXPONENT: Final = 64
BASE_STEPS: Final = 200_000
STEPS_A_PAIR: Final = 10
"""Loop steps allowed for each pair of messages: some templates look through all messages at every message."""

Clock = Callable[[], datetime]


class TemplateRunaway(Exception):  # noqa: N818  an outcome that ChatTemplate turns into a coded error
    """The template passed a bound: it loops, or its output grows without end."""


@dataclass(slots=True)
class Marks:
    """What the hooks of one rendering do.

    Attributes:
        messages: Index of each message by the ``id()`` of the object that the template sees.
        opening: Character that begins a mark; empty for a clean rendering, where hooks write nothing.
        closing: Character that ends a mark.
        max_steps: Loop iterations that the rendering may take.
    """

    messages: Mapping[int, int] = field(default_factory=dict)
    opening: str = ""
    closing: str = ""
    max_steps: int = BASE_STEPS
    steps: int = 0
    loops: list[bool] = field(default_factory=list)

    def write(self, name: str) -> str:
        """Return one mark's text."""
        return f"{self.opening}{name}{self.closing}" if self.opening else ""


class _GenerationTag(Extension):
    """The tag ``{% generation %} … {% endgeneration %}``."""

    tags = {"generation"}  # noqa: RUF012  jinja reads the class attribute

    def parse(self, parser: Parser) -> nodes.Node:
        """Read the tag and its body."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_generate"), [], [], body).set_lineno(line)

    def _generate(self, caller: Callable[[], str]) -> str:
        marks: Marks = self.environment.marks  # type: ignore[attr-defined]
        return f"{marks.write('g')}{caller()}{marks.write('h')}"


class _Hooks:
    """What a transformed template calls at loops and joins.

    They are reached as filters: the sandbox checks every call, which would double the time of a rendering. Their names
    hold a space, so that no template can name them.
    """

    def __init__(self, environment: _Environment) -> None:
        self._environment = environment
        for name in ("begin", "step", "end", "join"):
            environment.filters[f"loop {name}"] = getattr(self, name)

    def begin(self, _: object) -> str:
        """A loop begins."""
        self._environment.marks.loops.append(False)
        return ""

    def step(self, item: object) -> str:
        """A loop is at an item."""
        marks = self._environment.marks
        marks.steps += 1
        if marks.steps > marks.max_steps:
            message = f"more than {marks.max_steps} loop steps"
            raise TemplateRunaway(message)
        index = marks.messages.get(id(item))
        if index is None:
            return ""
        marks.loops[-1] = True
        return marks.write(f"m{len(marks.loops)}.{index}")

    def end(self, _: object) -> str:
        """A loop is over."""
        marks = self._environment.marks
        depth = len(marks.loops)
        return marks.write(f"e{depth}") if marks.loops.pop() else ""

    def join(self, parts: Sequence[object]) -> str:
        """Join what stands between tildes."""
        text: str = _bounded("".join(map(str, parts)))
        return text


class _AddHooks(NodeTransformer):
    """Put hooks around and into every loop, and bound joins."""

    def visit_For(self, node: nodes.For) -> list[nodes.Node]:  # noqa: N802  jinja's visitor protocol
        """Tell the hooks that a loop begins, which item it is at, and that it is over."""
        self.generic_visit(node)
        target = node.target
        item = nodes.Name(target.name, "load") if isinstance(target, nodes.Name) else nodes.Const(None)
        node.body.insert(0, nodes.Output([_filter("step", item)]).set_lineno(node.lineno))
        begin = nodes.ExprStmt(_filter("begin", nodes.Const(None))).set_lineno(node.lineno)
        return [begin, node, nodes.Output([_filter("end", nodes.Const(None))]).set_lineno(node.lineno)]

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        """Bound what ``~`` makes."""
        self.generic_visit(node)
        return _filter("join", nodes.List(list(node.nodes))).set_lineno(node.lineno)


def _filter(name: str, value: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(value, f"loop {name}", [], [], None, None)


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja's immutable sandbox with bounds on what operators and calls make."""

    intercepted_binops = frozenset({"*", "**", "+", "%"})
    marks: Marks

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:  # noqa: ANN401, ARG002  jinja's
        """Apply an operator unless its result would pass the bound."""
        if operator == "*":
            _check_product(left, right)
        elif operator == "**" and (abs(right) > MAX_EXPONENT or abs(left) > MAX_CHARACTERS):
            message = f"{shorten_number(left)} ** {shorten_number(right)}"
            raise TemplateRunaway(message)
        elif operator == "%" and isinstance(left, str):
            _check_widths(left)
        return _bounded(self.binop_table[operator](left, right))

    def call(self, context: Any, called: Any, /, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Call what a template calls unless it asks for a text beyond the bound."""
        _check_numbers(args)
        if getattr(called, "__name__", "") in {"format", "format_map"}:
            _check_widths(str(getattr(getattr(called, "__wrapped__", called), "__self__", "")))
        return _bounded(super().call(context, called, *args, **kwargs))


def shorten_number(number: float) -> str:
    """Show a number without writing out a million digits."""
    return f"{number:.3g}" if abs(number) < 10**300 else "a huge number"


def _check_product(left: object, right: object) -> None:
    for value, times in ((left, right), (right, left)):
        if isinstance(value, (str, list, tuple)) and isinstance(times, int) and len(value) * times > MAX_CHARACTERS:
            message = f"a text of {shorten_number(len(value) * times)} characters"
            raise TemplateRunaway(message)


def _check_numbers(values: Iterable[object]) -> None:
    for value in values:
        if isinstance(value, int) and abs(value) > MAX_CHARACTERS:
            message = f"a call with {shorten_number(value)}"
            raise TemplateRunaway(message)


def _bound_filter(filter_: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a filter that can make a text as long as its arguments say."""

    def bounded(value: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  template values
        _check_numbers((*args, *kwargs.values()))
        if filter_ is jinja2.filters.FILTERS["format"]:
            _check_widths(str(value))
        return _bounded(filter_(value, *args, **kwargs))

    return bounded


def _check_widths(pattern: str) -> None:
    run = 0
    for character in pattern:
        run = run + 1 if character.isdigit() else 0
        if run > len(str(MAX_CHARACTERS)) - 1:
            message = "a format with a width of eight digits or more"
            raise TemplateRunaway(message)


def _bounded(value: Any) -> Any:  # noqa: ANN401  template values
    if isinstance(value, str) and len(value) > MAX_CHARACTERS:
        message = f"a text of {len(value)} characters"
        raise TemplateRunaway(message)
    return value


class _TemplateNamespace(Namespace):
    """Jinja's namespace without underscore names, as transformers has it."""

    def __init__(*args: Any, **kwargs: Any) -> None:  # noqa: ANN401  `namespace(self=…)` must work
        self, rest = args[0], args[1:]
        attributes = dict(*rest, **kwargs)
        for name in attributes:
            _check_name(name)
        Namespace.__init__(self, attributes)

    def __setitem__(self, name: str, value: Any) -> None:  # noqa: ANN401
        _check_name(name)
        Namespace.__setitem__(self, name, value)


class _TemplateDict:
    """What templates may do with ``dict``."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:  # noqa: ANN401
        return dict(*args, **kwargs)

    def fromkeys(self, keys: Iterable[Any], value: Any = None) -> dict[Any, Any]:  # noqa: ANN401
        """Make a dictionary with one value for all keys."""
        return dict.fromkeys(keys, value)


def _check_name(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        message = f"namespaces hold no underscore names, got {name!r}"
        raise jinja2.exceptions.SecurityError(message)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _to_json(
    value: Any,  # noqa: ANN401  any JSON value
    ensure_ascii: bool = False,  # noqa: FBT001  the filter's signature in transformers
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,  # noqa: FBT001
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


class CompiledTemplate:
    """One template, compiled once, rendered often.

    Args:
        source: Jinja text.
        now: What ``strftime_now`` reads.

    Raises:
        jinja2.TemplateSyntaxError: When the text is no template.
    """

    def __init__(self, source: str, *, now: Clock) -> None:
        environment = _Environment(trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, loop_controls])
        for name in ("center", "indent", "format", "batch"):
            environment.filters[name] = _bound_filter(environment.filters[name])
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = lambda pattern: now().strftime(pattern)
        environment.globals["dict"] = _TemplateDict()
        environment.globals["namespace"] = _TemplateNamespace
        self._environment = environment
        self._lock = Lock()
        tree = environment.parse(source)
        self.has_generation_marks = any(_is_generation(node) for node in tree.find_all(nodes.CallBlock))
        self.names = frozenset(node.name for node in tree.find_all(nodes.Name))
        _Hooks(environment)
        code = environment.compile(_AddHooks().visit(tree))
        self._template = jinja2.Template.from_code(environment, code, environment.globals)

    def render(self, variables: Mapping[str, Any], marks: Marks) -> str:
        """Render once.

        Raises:
            TemplateRunaway: When a bound is passed.
            jinja2.TemplateError: When the template refuses; other errors as the template's expressions raise them.
        """
        with self._lock:  # hooks read the marks from the environment
            self._environment.marks = marks
            return "".join(_bound_pieces(self._template.generate(**variables)))


def _is_generation(node: nodes.CallBlock) -> bool:
    called = node.call.node
    return isinstance(called, nodes.ExtensionAttribute) and called.name == "_generate"


def _bound_pieces(pieces: Iterator[str]) -> Iterator[str]:
    length = 0
    for piece in pieces:
        length += len(piece)
        if length > MAX_CHARACTERS:
            message = f"an output of more than {MAX_CHARACTERS} characters"
            raise TemplateRunaway(message)
        yield piece


def count_max_steps(messages: Sequence[object]) -> int:
    """Return how many loop steps a rendering of these messages may take."""
    return BASE_STEPS + STEPS_A_PAIR * len(messages) ** 2
