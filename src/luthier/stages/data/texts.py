"""The texts of a row: change all of them, or read those that matter for one purpose."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any, Final

from luthier.foundation.core.hashing import sha256_bytes
from luthier.foundation.schema.rows import FunctionCall, Message, Part, Row, ToolCall

TextFunction = Callable[[str], str]

_MESSAGE_FIELDS: Final = ("messages", "chosen", "rejected", "completion")
_SPACES: Final = re.compile(r"\s+")
_WORD: Final = re.compile(r"\w+")
_INVISIBLE: Final = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufe00-\ufe0f\ufeff]")
_SEPARATOR: Final = "\x1f"


def map_texts(
    row: Row,
    change: TextFunction,
    *,
    change_arguments: TextFunction | None = None,
    is_clean: Callable[[str], bool] = lambda _: False,
) -> Row:
    """Apply a function to every text that a model would see: contents, calls, tool schemas, plain text.

    Args:
        row: The row.
        change: Gives a text's new form; it must return the very same object where nothing changes.
        change_arguments: The same for a call's JSON text of arguments; ``change`` where None.
        is_clean: Tells from all tool schemas as one JSON text that nothing in them would change; spares the walk.

    Returns:
        The row itself where no text changed.
    """
    update: dict[str, Any] = {}
    for name in _MESSAGE_FIELDS:
        messages: tuple[Message, ...] = getattr(row, name)
        changed = tuple(_map_message(message, change, change_arguments or change) for message in messages)
        if any(new is not old for new, old in zip(changed, messages, strict=True)):
            update[name] = changed
    text = change(row.text) if row.text else row.text
    if text != row.text:
        update["text"] = text
    if row.tools and not is_clean(json.dumps(row.tools, ensure_ascii=False)):
        tools = _map_json(row.tools, change)
        if tools != row.tools:
            update["tools"] = tools
    return row.model_copy(update=update) if update else row


def _map_message(message: Message, change: TextFunction, change_arguments: TextFunction) -> Message:
    update: dict[str, Any] = {}
    content: str | tuple[Part, ...] = message.content
    if isinstance(content, str):
        content = change(content)
    else:
        content = tuple(
            part.model_copy(update={"text": change(part.text)}) if part.text is not None else part for part in content
        )
    if content != message.content:
        update["content"] = content
    calls = tuple(_map_call(call, change_arguments) for call in message.tool_calls)
    if calls != message.tool_calls:
        update["tool_calls"] = calls
    return message.model_copy(update=update) if update else message


def _map_call(call: ToolCall, change_arguments: TextFunction) -> ToolCall:
    arguments = change_arguments(call.function.arguments)
    if arguments == call.function.arguments:
        return call
    function = FunctionCall(name=call.function.name, arguments=arguments)
    return call.model_copy(update={"function": function})


def _map_json(value: Any, change: TextFunction) -> Any:  # noqa: ANN401  any JSON value
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: _map_json(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_map_json(item, change) for item in value)
    return value


def iterate_messages(row: Row) -> Iterator[Message]:
    """Yield all messages of a row: prompt, then continuations."""
    for name in _MESSAGE_FIELDS:
        yield from getattr(row, name)


def iterate_spoken(row: Row) -> Iterator[tuple[str, str]]:
    """Yield role and text of what users and assistants say, and plain text as role ``text``."""
    for message in iterate_messages(row):
        if message.role in {"user", "assistant"} and message.content:
            yield message.role, message.text
    if row.text:
        yield "text", row.text


def normalise(text: str) -> str:
    """Bring a text into the form in which exact duplicates are equal.

    NFKC, no invisible characters, case folded, every run of white space one space.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text))
    return _SPACES.sub(" ", text.casefold()).strip()


def split_words(text: str) -> list[str]:
    """Split a text into normalised words; punctuation parts them and is dropped."""
    return _WORD.findall(normalise(text))


def content_key(row: Row, *, has_system: bool = True, has_tools: bool = True, exact: bool = False) -> str:
    """Digest what a row says, so that rows of one key are duplicates of each other.

    Args:
        row: The row.
        has_system: Whether system and developer messages count.
        has_tools: Whether tool schemas count.
        exact: Whether case, spacing and Unicode form count.
    """
    clean = (lambda text: text) if exact else normalise
    parts: list[str] = [row.kind, clean(row.text)]
    for name in _MESSAGE_FIELDS:
        parts.append(f"#{name}")
        parts += [
            _message_key(message, clean)
            for message in getattr(row, name)
            if has_system or message.role not in {"system", "developer"}
        ]
    if has_tools and row.tools:
        parts.append(json.dumps(row.tools, sort_keys=True, ensure_ascii=False))
    if row.label is not None:
        parts.append(str(row.label))
    return sha256_bytes(_SEPARATOR.join(parts).encode("utf-8", "surrogatepass"))


def _message_key(message: Message, clean: TextFunction) -> str:
    calls = "".join(f"|{call.function.name}({clean(call.function.arguments)})" for call in message.tool_calls)
    blobs = (
        "" if isinstance(message.content, str) else "".join(f"|{part.blob}" for part in message.content if part.blob)
    )
    return f"{message.role}:{clean(message.text)}{calls}{blobs}"


def rank_row(row: Row) -> tuple[int, int, str]:
    """Return what the best row of a cluster of duplicates has least of; rows of equal content rank equal.

    Most further columns come first, then the least text, then the least digest.
    """
    columns = {name: value for name, value in row.fields.items() if value not in (None, "", [], {})}
    length = len(row.text) + sum(len(message.text) for message in iterate_messages(row))
    tie = content_key(row, exact=True) + json.dumps(columns, sort_keys=True, default=str)
    return -len(columns), length, tie
