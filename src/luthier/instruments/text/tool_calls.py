"""Tool calls in a model's text: read them back, and compare them whatever their spelling."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any, Final, Literal, get_args

from luthier.foundation.core.hashing import canonical_json
from luthier.foundation.schema.rows import FunctionCall, Message, ToolCall
from luthier.instruments.text.templates import ChatTemplate

CallStyle = Literal["hermes", "llama", "none"]
"""How calls are written: ``hermes`` (`<tool_call>{"name", "arguments"}</tool_call>`), ``llama`` (one bare JSON
object with ``name`` and ``parameters``), ``none`` where a template writes neither."""

_BLOCK: Final = re.compile(r"<tool_call>\s*(.*?)\s*</tool_call>", re.DOTALL)


def render_tool_calls(content: str, calls: Iterable[ToolCall]) -> str:
    """Write an answer's content and calls in hermes style, as the tool template does."""
    parts = [content] if content else []
    parts += [
        f'<tool_call>\n{{"name": {json.dumps(call.function.name, ensure_ascii=False)}, '
        f'"arguments": {call.function.arguments or "{}"}}}\n</tool_call>'
        for call in calls
    ]
    return "\n".join(parts)


def parse_tool_calls(text: str, style: str = "hermes") -> tuple[str, tuple[ToolCall, ...]]:
    """Read the calls in an answer.

    Args:
        text: What a model wrote, without the token that ends the turn.
        style: How it writes calls, see :data:`CallStyle`.

    Returns:
        The content without its calls, and the calls in order. What looks like a call but is none stays in the content.
    """
    if style == "hermes":
        return _parse_blocks(text)
    if style == "llama":
        call = _read_call(text)
        return ("", (call,)) if call else (text, ())
    return text, ()


def name_calls(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Give tool calls without a name one, and the results after them the same: servers ask for it."""
    numbers, waiting, named = count(1), [], []
    for message in messages:
        if message.tool_calls:
            calls = tuple(
                call if call.id else call.model_copy(update={"id": f"call_{next(numbers)}"})
                for call in message.tool_calls
            )
            waiting = [call.id for call in calls]
            named.append(message.model_copy(update={"tool_calls": calls}))
        elif message.role == "tool" and message.tool_call_id is None and waiting:
            named.append(message.model_copy(update={"tool_call_id": waiting.pop(0)}))
        else:
            named.append(message)
    return tuple(named)


def find_call_style(template: ChatTemplate) -> CallStyle:
    """Find how a template writes calls, by writing one and reading it back."""
    call = ToolCall(function=FunctionCall(name="probe_tool", arguments='{"probe_key": "probe_value"}'))
    messages = (Message(role="user", content="probe"), Message(role="assistant", tool_calls=(call,)))
    text = template.render_probe(messages)
    for style in get_args(CallStyle):
        body = _find_object(text) if style == "llama" else text
        if any(canonical_call(found) == canonical_call(call) for found in parse_tool_calls(body, style)[1]):
            chosen: CallStyle = style
            return chosen
    return "none"


def canonical_call(call: ToolCall) -> str:
    """Return a call as one text that is equal for equal calls: name and arguments, keys sorted, numbers in one form."""
    return canonical_json(
        {"name": call.function.name, "arguments": _canonical(_parse(call.function.arguments))}
    ).decode()


def _parse_blocks(text: str) -> tuple[str, tuple[ToolCall, ...]]:
    calls: list[ToolCall] = []
    kept: list[str] = []
    position = 0
    for match in _BLOCK.finditer(text):
        call = _read_call(match.group(1))
        if call is None:
            continue
        calls.append(call)
        before = text[position : match.start()]
        kept.append(before.removesuffix("\n") if before.strip() else "")
        position = match.end()
    rest = text[position:]
    kept.append(rest if rest.strip() or not calls else "")
    return "".join(kept), tuple(calls)


def _read_call(text: str) -> ToolCall | None:
    value = _parse(text.strip())
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return None
    arguments = value.get("arguments", value.get("parameters", {}))
    if isinstance(arguments, str):
        arguments = _parse(arguments)
    if not isinstance(arguments, dict):
        return None
    text = json.dumps(arguments, ensure_ascii=False)
    return ToolCall(function=FunctionCall(name=value["name"], arguments=text))


def _find_object(text: str) -> str:
    """Return the last line-long JSON object of a rendering that names the probe."""
    start = text.rfind('{"name": "probe_tool"')
    if start < 0:
        return ""
    try:
        _, end = json.JSONDecoder().raw_decode(text, start)
    except ValueError:
        return ""
    return text[start:end]


def _parse(text: str) -> Any:  # noqa: ANN401  any JSON value
    try:
        return json.loads(text or "{}")
    except (ValueError, RecursionError):
        return text


def _canonical(value: Any) -> Any:  # noqa: ANN401  any JSON value
    """Spell numbers so that 3 and 3.0 are equal and nothing is beyond canonical JSON."""
    if isinstance(value, dict):
        return {str(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and not -(2**53) < value < 2**53:
        return str(value)
    if isinstance(value, float) and value != value:
        return "NaN"
    return value
