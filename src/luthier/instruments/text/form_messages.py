"""Messages of a source's row: read, checked, and put into the one form that all rooms share."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn, get_args

from luthier.foundation.core.errors import DataError
from luthier.foundation.schema.rows import FunctionCall, Message, Part, Role, ToolCall
from luthier.instruments.text.template_messages import parse_arguments

_ROLES: Final = get_args(Role)
_ROLE_ALIASES: Final[Mapping[str, Role]] = {"function": "tool", "model": "assistant"}
_SHAREGPT_ROLES: Final[Mapping[str, Role]] = {
    "human": "user",
    "gpt": "assistant",
    "function_call": "assistant",
    "observation": "tool",
    "bot": "assistant",
    "chatgpt": "assistant",
}
_KNOWN_KEYS: Final = frozenset(
    {"role", "content", "name", "tool_calls", "tool_call_id", "function_call", "weight", "is_trained"}
)
_THOUGHT_KEYS: Final = ("reasoning_content", "reasoning", "thinking")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands, for errors: the row's origin and the field's path."""

    origin: str
    field: str

    def inside(self, name: str | int) -> Place:
        """Return the place of a part of this value."""
        return Place(self.origin, f"{self.field}[{name}]" if isinstance(name, int) else f"{self.field}.{name}")

    def error(self, what: str, *, got: object, allowed: str, fix: str) -> DataError:
        """Return E-TXT-013 for this place."""
        shown = got if isinstance(got, str) else json.dumps(got, ensure_ascii=False, default=repr)
        return DataError("E-TXT-013", what, got=shown, origin=self.origin, allowed=allowed, fix=fix, field=self.field)


def read_messages(value: object, place: Place) -> tuple[Message, ...]:
    """Read a list of messages in OpenAI form.

    Raises:
        DataError: E-TXT-013, E-TXT-015 or E-TXT-018, with file, line and field.
    """
    if not isinstance(value, list) or not value:
        raise place.error(
            "messages must be a list with at least one message",
            got=value,
            allowed='[{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]',
            fix="write the conversation as a list of objects",
        )
    return tuple(_read_message(item, place.inside(index)) for index, item in enumerate(value))


def read_extras(value: object) -> dict[str, dict[str, Any]]:
    """Return keys of messages that have no place in ours, by message index; they are kept among the row's fields."""
    items = value if isinstance(value, list) else []
    extras = {
        str(index): {key: found for key, found in item.items() if key not in _KNOWN_KEYS and found is not None}
        for index, item in enumerate(items)
        if isinstance(item, dict)
    }
    return {index: found for index, found in extras.items() if found}


def read_completion(value: object, place: Place) -> tuple[Message, ...]:
    """Read what an assistant says: a text, or messages."""
    return (Message(role="assistant", content=value),) if isinstance(value, str) else read_messages(value, place)


def read_prompt(value: object, place: Place) -> tuple[Message, ...]:
    """Read what an assistant is asked: a text, or messages."""
    return (Message(role="user", content=value),) if isinstance(value, str) else read_messages(value, place)


def read_sharegpt(value: object, place: Place) -> tuple[Message, ...]:
    """Read ``[{"from": "human", "value": "…"}, …]``."""
    if not isinstance(value, list) or not value:
        raise place.error(
            "conversations must be a list with at least one turn",
            got=value,
            allowed='[{"from": "human", "value": "…"}, {"from": "gpt", "value": "…"}]',
            fix="write the conversation as a list of objects",
        )
    return tuple(_read_sharegpt_turn(item, place.inside(index)) for index, item in enumerate(value))


def read_tools(value: object, place: Place) -> tuple[dict[str, Any], ...]:
    """Read tool schemas: a list of objects, or that list as JSON text.

    Raises:
        DataError: E-TXT-013 when they are neither.
    """
    if isinstance(value, str) and value.strip():
        value = _parse_json(value)
    if value in (None, "", []):
        return ()
    if not isinstance(value, list) or not all(isinstance(tool, dict) for tool in value):
        raise place.error(
            "tools must be a list of tool schemas",
            got=value,
            allowed='[{"type": "function", "function": {"name": "…", "parameters": {…}}}]',
            fix="write the schemas in OpenAI form",
        )
    return tuple(_wrap_tool(tool, place.inside(index)) for index, tool in enumerate(value))


def check_order(messages: Sequence[Message], origin: str) -> None:
    """Refuse an order of roles that no conversation has.

    Raises:
        DataError: E-TXT-014.
    """
    for index, message in enumerate(messages):
        before = messages[index - 1] if index else None
        if message.role in {"system", "developer"} and before and before.role not in {"system", "developer"}:
            _refuse_order(index, message, "a system message stands at the beginning", messages, origin)
        if message.role == "tool" and not (before and (before.role == "tool" or before.tool_calls)):
            _refuse_order(index, message, "a tool answers a call right before it", messages, origin)


def _refuse_order(index: int, message: Message, rule: str, messages: Sequence[Message], origin: str) -> NoReturn:
    raise DataError(
        "E-TXT-014",
        f"message {index + 1} ({message.role}) is out of order: {rule}",
        got=", ".join(item.role for item in messages),
        origin=origin,
        allowed="system first; then user and assistant; tool after an assistant's call",
        fix="mend the order of the messages",
        field="messages",
    )


def _read_message(item: object, place: Place) -> Message:
    if not isinstance(item, dict):
        raise place.error(
            "a message must be an object", got=item, allowed='{"role": "…", "content": "…"}', fix="mend it"
        )
    for key in _THOUGHT_KEYS:
        if item.get(key):
            raise place.inside(key).error(
                "thoughts apart from the content are not read by this version",
                got=item[key],
                allowed="thoughts inside the content",
                fix="write them into content as <think>…</think>",
            )
    role = _read_role(item.get("role"), place.inside("role"))
    calls = _read_calls(item, place)
    return Message(
        role=role,
        content=_read_content(item.get("content"), place.inside("content"), is_optional=bool(calls)),
        name=_read_text(item.get("name"), place.inside("name")),
        tool_calls=calls,
        tool_call_id=_read_text(item.get("tool_call_id"), place.inside("tool_call_id")),
        is_trained=_read_mark(item, place),
    )


def _read_role(value: object, place: Place) -> Role:
    name = _ROLE_ALIASES.get(value, value) if isinstance(value, str) else value
    for role in _ROLES:
        if name == role:
            found: Role = role
            return found
    meant = _SHAREGPT_ROLES.get(str(value))
    near = [meant] if meant else difflib.get_close_matches(str(value), _ROLES, n=1)
    raise place.error(
        "unknown role",
        got=value,
        allowed=", ".join(_ROLES),
        fix=f"did you mean {near[0]}?" if near else "write one of these roles",
    )


def _read_content(value: object, place: Place, *, is_optional: bool) -> str | tuple[Part, ...]:
    if isinstance(value, str):
        return value
    if value is None and is_optional:
        return ""
    if isinstance(value, list):
        return tuple(_read_part(part, place.inside(index)) for index, part in enumerate(value))
    raise place.error(
        "a message's content must be text; it may be null only beside tool calls",
        got=value,
        allowed="text, or a list of text parts",
        fix='write "content": "…", or take the message out',
    )


def _read_part(value: object, place: Place) -> Part:
    if isinstance(value, str):
        return Part(type="text", text=value)
    if isinstance(value, dict) and value.get("type") in {"text", "input_text"} and isinstance(value.get("text"), str):
        return Part(type="text", text=value["text"])
    if isinstance(value, dict) and value.get("type") in {"image_url", "image", "input_audio", "audio", "video", "file"}:
        raise DataError(
            "E-TXT-018",
            f"{value['type']} parts are not read by this version",
            got=value["type"],
            origin=place.origin,
            allowed="text parts",
            fix="take these rows out, or write what the picture shows as text",
            field=place.field,
        )
    raise place.error(
        "a content part must hold text", got=value, allowed='{"type": "text", "text": "…"}', fix="write it as text"
    )


def _read_text(value: object, place: Place) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise place.error("this field must be text", got=value, allowed="text", fix="put it into quotes")


def _read_mark(item: Mapping[str, Any], place: Place) -> bool | None:
    value = item.get("is_trained", item.get("weight"))
    if value is None or isinstance(value, bool):
        return value
    if value in (0, 1):
        return bool(value)
    raise place.inside("weight").error("a message's weight is 0 or 1", got=value, allowed="0, 1", fix='"weight": 1')


def _read_calls(item: Mapping[str, Any], place: Place) -> tuple[ToolCall, ...]:
    value = item.get("tool_calls")
    if value is None and item.get("function_call") is not None:
        value = [item["function_call"]]
    if value is None:
        return ()
    if not isinstance(value, list):
        raise place.inside("tool_calls").error(
            "tool_calls must be a list", got=value, allowed='[{"function": {…}}]', fix="put it into a list"
        )
    return tuple(_read_call(call, place.inside("tool_calls").inside(index)) for index, call in enumerate(value))


def _read_call(value: object, place: Place) -> ToolCall:
    function = value.get("function", value) if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise place.error(
            "a tool call needs a function with a name",
            got=value,
            allowed='{"function": {"name": "…", "arguments": "{…}"}}',
            fix="write the call in OpenAI form",
        )
    arguments = function.get("arguments", function.get("parameters", "{}"))
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    call_id = value.get("id")
    call = ToolCall(
        id=call_id if isinstance(call_id, str) else "", function=FunctionCall(name=function["name"], arguments=text)
    )
    parse_arguments(call, origin=place.origin)
    return call


def _read_sharegpt_turn(item: object, place: Place) -> Message:
    if not isinstance(item, dict):
        raise place.error(
            "a turn must be an object", got=item, allowed='{"from": "human", "value": "…"}', fix="mend it"
        )
    speaker = item.get("from", item.get("role"))
    role = _SHAREGPT_ROLES.get(speaker, speaker) if isinstance(speaker, str) else speaker
    value = item.get("value", item.get("content"))
    if speaker == "function_call":
        calls = _parse_json(value) if isinstance(value, str) else value
        calls = calls if isinstance(calls, list) else [calls]
        return _read_message({"role": "assistant", "content": None, "tool_calls": calls}, place)
    if not isinstance(value, str):
        raise place.inside("value").error("a turn's value must be text", got=value, allowed="text", fix='"value": "…"')
    return _read_message({**item, "role": role, "content": value}, place)


def _wrap_tool(tool: dict[str, Any], place: Place) -> dict[str, Any]:
    wrapped: dict[str, Any] = tool if isinstance(tool.get("function"), dict) else {"type": "function", "function": tool}
    if not isinstance(wrapped["function"].get("name"), str):
        raise place.error(
            "a tool needs a name", got=tool, allowed='{"name": "…", "parameters": {…}}', fix="name the tool"
        )
    return wrapped


def _parse_json(text: str) -> Any:  # noqa: ANN401  any JSON value
    try:
        return json.loads(text)
    except ValueError:
        return text
