"""Messages as chat templates see them: plain dictionaries in the form that each template can read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from luthier.foundation.core.errors import DataError
from luthier.foundation.schema.rows import Message, ToolCall

TemplateMessage = dict[str, Any]


@dataclass(frozen=True, slots=True)
class MessageForm:
    """What a template reads.

    Attributes:
        content: ``text`` for templates that join strings, ``parts`` for those that loop over a list of parts.
        arguments: ``object`` for templates that write a call's arguments as JSON, ``text`` for those that join them.
    """

    content: Literal["text", "parts"] = "text"
    arguments: Literal["object", "text"] = "object"


def to_template_messages(messages: Iterable[Message], form: MessageForm, *, origin: str = "") -> list[TemplateMessage]:
    """Write messages as a template reads them.

    Raises:
        DataError: E-TXT-015 for arguments that are no JSON object, E-TXT-018 for images and audio.
    """
    return [_to_template_message(message, form, origin) for message in messages]


def to_template_tools(tools: Sequence[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """Return tool schemas as templates expect them: None where there are none."""
    return [dict(tool) for tool in tools] or None


def parse_arguments(call: ToolCall, *, origin: str = "") -> dict[str, Any]:
    """Read a call's arguments.

    Raises:
        DataError: E-TXT-015 when they are no JSON object.
    """
    try:
        value = json.loads(call.function.arguments or "{}")
    except ValueError:
        value = None
    if isinstance(value, dict):
        return value
    raise DataError(
        "E-TXT-015",
        f"the arguments of the call to {call.function.name} are not a JSON object",
        got=call.function.arguments,
        origin=origin,
        allowed='a JSON object as text, for example "{\\"city\\": \\"Oslo\\"}"',
        fix="write the arguments with json.dumps",
        field="tool_calls.function.arguments",
    )


def _to_template_message(message: Message, form: MessageForm, origin: str) -> TemplateMessage:
    result: TemplateMessage = {"role": message.role, "content": _to_content(message, form, origin)}
    if message.name is not None:
        result["name"] = message.name
    if message.tool_call_id is not None:
        result["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        result["tool_calls"] = [_to_call(call, form, origin) for call in message.tool_calls]
    return result


def _to_content(message: Message, form: MessageForm, origin: str) -> Any:  # noqa: ANN401  text or parts
    if not isinstance(message.content, str) and any(part.type != "text" for part in message.content):
        raise DataError(
            "E-TXT-018",
            f"a {message.role} message holds an image or audio, which text models cannot read",
            got=", ".join(part.type for part in message.content),
            origin=origin,
            allowed="text parts",
            fix="take these rows out, or write what the picture shows as text",
            field="content",
        )
    return message.text if form.content == "text" else [{"type": "text", "text": message.text}]


def _to_call(call: ToolCall, form: MessageForm, origin: str) -> dict[str, Any]:
    arguments: Any = parse_arguments(call, origin=origin)
    if form.arguments == "text":
        arguments = call.function.arguments
    return {"id": call.id, "type": call.type, "function": {"name": call.function.name, "arguments": arguments}}
