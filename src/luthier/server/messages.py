"""Conversations as OpenAI writes them: each message's form, then the order of the roles."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any, Final, NoReturn, get_args

from luthier.foundation.core.errors import ServeError
from luthier.foundation.schema.rows import FunctionCall, Message, Part, Role, ToolCall
from luthier.server.fields import check_keys, read_text, refuse_unsupported

ROLES: Final[tuple[Role, ...]] = get_args(Role)
MAX_NAME_CHARACTERS: Final = 256
MESSAGE_KEYS: Final = ("role", "content", "name", "tool_calls", "tool_call_id")
EMPTY_KEYS: Final = ("refusal", "audio", "annotations", "function_call", "parsed")
"""What SDKs send back when an answer is put into the next request; nothing in them is read, so they must be empty."""


def read_messages(value: object, *, max_messages: int) -> tuple[Message, ...]:
    """Read the ``messages`` of a request.

    Raises:
        ServeError: E-SRV-026 for a form or an order that no conversation has, E-SRV-024 for an unknown key,
            E-SRV-025 for what only other models read.
    """
    if not isinstance(value, list) or not value:
        _refuse("messages", "must be a list of at least one message", got=value)
    if len(value) > max_messages:
        _refuse("messages", f"holds more than {max_messages} messages", got=f"{len(value)} messages")
    messages = tuple(_read_message(item, f"messages[{index}]") for index, item in enumerate(value))
    _check_order(messages)
    _check_calls(messages)
    return messages


def _refuse(field: str, rule: str, *, got: object) -> NoReturn:
    raise ServeError(
        "E-SRV-026",
        f"'{field}' {rule}",
        got=got,
        allowed="system or developer first; then user and assistant; tool after the assistant's call that it answers",
        fix='send "messages": [{"role": "user", "content": "…"}]',
        field=field,
    )


def _read_message(item: object, field: str) -> Message:
    if not isinstance(item, dict):
        _refuse(field, "must be an object", got=item)
    check_keys(item, {*MESSAGE_KEYS, *EMPTY_KEYS}, field=field)
    for key in EMPTY_KEYS:
        if item.get(key):
            refuse_unsupported(f"{field}.{key}", got=item[key], allowed="null", fix=f"leave {key} out")
    role = _read_role(item.get("role"), field)
    calls = _read_calls(item.get("tool_calls"), role, field)
    call_id = read_text(item, "tool_call_id", f"{field}.tool_call_id", max_characters=MAX_NAME_CHARACTERS)
    if (role == "tool") != bool(call_id):
        _refuse(f"{field}.tool_call_id", "stands in tool messages, and in each of them", got=call_id)
    return Message(
        role=role,
        content=_read_content(item.get("content"), f"{field}.content", is_optional=bool(calls)),
        name=read_text(item, "name", f"{field}.name", max_characters=MAX_NAME_CHARACTERS),
        tool_calls=calls,
        tool_call_id=call_id,
    )


def _read_role(value: object, field: str) -> Role:
    for role in ROLES:
        if value == role:
            return role
    _refuse(f"{field}.role", f"must be one of {', '.join(ROLES)}", got=value)


def _read_content(value: object, field: str, *, is_optional: bool) -> str | tuple[Part, ...]:
    if isinstance(value, str):
        return value
    if value is None and is_optional:
        return ""
    if not isinstance(value, list) or not value:
        _refuse(field, "must be a text or a list of text parts", got=value)
    return tuple(_read_part(part, f"{field}[{index}]") for index, part in enumerate(value))


def _read_part(part: object, field: str) -> Part:
    if not isinstance(part, dict):
        _refuse(field, 'must be {"type": "text", "text": "…"}', got=part)
    if part.get("type") != "text":
        refuse_unsupported(f"{field}.type", got=part.get("type"), allowed="text", fix='send {"type": "text", …}')
    check_keys(part, ("type", "text"), field=field)
    text = part.get("text")
    if not isinstance(text, str):
        _refuse(f"{field}.text", "must be a text", got=text)
    return Part(type="text", text=text)


def _read_calls(value: object, role: Role, field: str) -> tuple[ToolCall, ...]:
    if value is None or value == []:
        return ()
    if role != "assistant" or not isinstance(value, list):
        _refuse(f"{field}.tool_calls", "must be a list, in an assistant's message", got=value)
    calls = tuple(_read_call(call, f"{field}.tool_calls[{index}]") for index, call in enumerate(value))
    if len({call.id for call in calls}) < len(calls):
        _refuse(f"{field}.tool_calls", "has two calls of one id", got=[call.id for call in calls])
    return calls


def _read_call(call: object, field: str) -> ToolCall:
    if not isinstance(call, dict) or not isinstance(call.get("function"), dict):
        _refuse(field, 'must be {"id": "…", "type": "function", "function": {"name": "…", "arguments": "…"}}', got=call)
    check_keys(call, ("id", "type", "function", "index"), field=field)
    function: Mapping[str, Any] = call["function"]
    check_keys(function, ("name", "arguments", "parsed_arguments"), field=f"{field}.function")  # the SDK's own reading
    if call.get("type", "function") != "function":
        _refuse(f"{field}.type", "must be function", got=call["type"])
    call_id = read_text(call, "id", f"{field}.id", max_characters=MAX_NAME_CHARACTERS)
    name = read_text(function, "name", f"{field}.function.name", max_characters=MAX_NAME_CHARACTERS)
    arguments = function.get("arguments")
    if not call_id or not name or not isinstance(arguments, str):
        _refuse(field, "needs an id, a function name, and arguments as a JSON text", got=call)
    return ToolCall(id=call_id, function=FunctionCall(name=name, arguments=arguments))


def _check_order(messages: tuple[Message, ...]) -> None:
    heads = {"system", "developer"}
    for index, (before, message) in enumerate(itertools.pairwise(messages), start=1):
        if message.role in heads and before.role not in heads:
            _refuse(f"messages[{index}].role", "is out of order: a system message stands first", got=message.role)
    if not any(message.role == "user" for message in messages):
        _refuse("messages", "holds no user message", got=_list_roles(messages))
    if messages[-1].role not in {"user", "tool"}:
        _refuse(
            f"messages[{len(messages) - 1}].role",
            "is out of order: the last message must be the user's or a tool's",
            got=messages[-1].role,
        )


def _check_calls(messages: tuple[Message, ...]) -> None:
    """Each call is answered once, right after the message that made it."""
    waiting: list[str] = []
    for index, message in enumerate(messages):
        if message.role == "tool":
            if message.tool_call_id not in waiting:
                _refuse(f"messages[{index}].tool_call_id", "answers no call right before it", got=message.tool_call_id)
            waiting.remove(message.tool_call_id)
        elif waiting:
            _refuse(f"messages[{index}]", "comes before every tool call is answered", got=waiting)
        else:
            waiting = [call.id for call in message.tool_calls]
    if waiting:
        _refuse("messages", "ends before every tool call is answered", got=waiting)


def _list_roles(messages: Iterable[Message]) -> str:
    return ", ".join(message.role for message in messages)
