"""The forms in which rows come: which one a record has, and the record as a row.

Detection looks at columns and types, never at values; what it found is shown and can be overridden.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any, Final, Literal, get_args

from luthier.foundation.core.errors import DataError
from luthier.foundation.schema.rows import Message, Origin, Row
from luthier.instruments.text.form_messages import (
    Place,
    check_order,
    read_completion,
    read_extras,
    read_messages,
    read_prompt,
    read_sharegpt,
    read_tools,
)

FormName = Literal[
    "messages", "openai_preference", "preference", "judged", "prompt_completion", "alpaca", "sharegpt", "text"
]

_DESCRIPTIONS: Final[Mapping[FormName, str]] = {
    "messages": "OpenAI chat: `messages`, and `tools` where there are any; reinforcement lines too",
    "openai_preference": "OpenAI preference: `input.messages`, `preferred_output`, `non_preferred_output`",
    "preference": "TRL preference: `prompt`, `chosen`, `rejected`, as texts or messages; the prompt may lie in both",
    "judged": "TRL unpaired preference: `prompt`, `completion`, and `label` true or false",
    "prompt_completion": "`prompt` and `completion`, as texts or messages",
    "alpaca": "Alpaca: `instruction`, `input`, `output`; `system` and `history` where there are any",
    "sharegpt": "ShareGPT: `conversations` of `from` and `value`",
    "text": "plain `text`",
}
_COLUMNS: Final[Mapping[FormName, tuple[str, ...]]] = {
    "messages": ("messages", "tools", "functions"),
    "openai_preference": ("input", "preferred_output", "non_preferred_output"),
    "preference": ("prompt", "chosen", "rejected", "tools"),
    "judged": ("prompt", "completion", "label", "tools"),
    "prompt_completion": ("prompt", "completion", "system", "tools"),
    "alpaca": ("instruction", "input", "output", "system", "history"),
    "sharegpt": ("conversations", "system", "tools"),
    "text": ("text",),
}
_GROUP_COLUMNS: Final = ("group", "conversation_id")


def describe_form(form: FormName) -> str:
    """Say in one line what a form looks like."""
    return _DESCRIPTIONS[form]


def detect_form(record: Mapping[str, Any], *, columns: Mapping[str, str] | None = None, origin: str = "") -> FormName:
    """Find the form of a record by its columns.

    Args:
        record: One object of the source.
        columns: The form's column name to the source's, where they differ: ``{"prompt": "question"}``.
        origin: File and line, for errors.

    Raises:
        DataError: E-TXT-012 when no form fits.
    """
    named = rename_columns(record, columns or {}, origin=origin)
    for form, fits in _TESTS.items():
        if fits(named):
            return form
    raise DataError(
        "E-TXT-012",
        "the row has none of the forms that are read",
        got=f"columns {', '.join(map(str, record)) or 'none'}",
        origin=origin,
        allowed="; ".join(_DESCRIPTIONS.values()),
        fix="columns: {prompt: YOUR_QUESTION_COLUMN, completion: YOUR_ANSWER_COLUMN}",
        field="data.sources.columns",
    )


def rename_columns(record: Mapping[str, Any], columns: Mapping[str, str], *, origin: str = "") -> dict[str, Any]:
    """Give a record's columns the names that forms use.

    Raises:
        DataError: E-TXT-013 when a mapped column is not there.
    """
    renamed = {name: value for name, value in record.items() if name not in columns.values()}
    for ours, theirs in columns.items():
        if theirs not in record:
            near = difflib.get_close_matches(theirs, [str(name) for name in record], n=1)
            raise Place(origin, f"data.sources.columns.{ours}").error(
                f"the row has no column {theirs}" + (f"; nearest is {near[0]}" if near else ""),
                got=", ".join(map(str, record)),
                allowed="a column that every row has",
                fix=f"columns: {{{ours}: {next(iter([*near, *record]), 'COLUMN')}}}",
            )
        renamed[ours] = record[theirs]
    return renamed


def to_row(
    record: Mapping[str, Any],
    *,
    form: str,
    columns: Mapping[str, str] | None = None,
    source: str = "",
    line: int = 0,
) -> Row:
    """Turn a record into a row.

    Args:
        record: One object of the source.
        form: Its form.
        columns: As in :func:`detect_form`.
        source: What the row's origin calls the file.
        line: Its line, from 1.

    Raises:
        DataError: E-TXT-013, E-TXT-014, E-TXT-015 or E-TXT-018, with file, line and field.
    """
    origin = Origin(file=source, line=line)
    name = _find_form(form, str(origin))
    named = rename_columns(record, columns or {}, origin=str(origin))
    used = {*_COLUMNS[name], "id", *_GROUP_COLUMNS}
    fields = {key: value for key, value in named.items() if key not in used}
    parts = _READERS[name](named, str(origin))
    fields.update(parts.pop("fields", {}))
    row = Row(id=_find_id(named, source, line), group=_find_group(named), fields=fields, origin=origin, **parts)
    for continuation in (row.chosen, row.rejected, row.completion):
        check_order((*row.messages, *continuation), str(origin))
    return row


def _find_form(form: str, origin: str) -> FormName:
    for name in get_args(FormName):
        if form == name:
            found: FormName = name
            return found
    raise DataError(
        "E-TXT-012",
        "no form has this name",
        got=form,
        origin=origin,
        allowed=", ".join(get_args(FormName)),
        fix="form: auto",
        field="data.sources.form",
    )


def _find_id(record: Mapping[str, Any], source: str, line: int) -> str:
    value = record.get("id")
    if isinstance(value, (str, int)) and not isinstance(value, bool) and str(value):
        return str(value)
    return f"{PurePath(source).name.split('.')[0] or 'row'}-{line}"


def _find_group(record: Mapping[str, Any]) -> str:
    values = (record.get(name) for name in _GROUP_COLUMNS)
    return next((str(value) for value in values if isinstance(value, (str, int)) and str(value)), "")


def _read_chat(record: Mapping[str, Any], origin: str) -> dict[str, Any]:
    value = record.get("messages")
    messages = read_messages(value, Place(origin, "messages"))
    tools = record.get("tools") or record.get("functions")
    extras = read_extras(value)
    return {
        "messages": messages,
        "tools": read_tools(tools, Place(origin, "tools")),
        "fields": {"message_fields": extras} if extras else {},
    }


def _read_openai_preference(record: Mapping[str, Any], origin: str) -> dict[str, Any]:
    asked = record.get("input")
    if not isinstance(asked, dict):
        raise Place(origin, "input").error(
            "input must be an object with messages", got=asked, allowed='{"messages": […]}', fix="mend the line"
        )
    return {
        "kind": "preference",
        **_read_chat(asked, origin),
        "chosen": read_completion(record.get("preferred_output"), Place(origin, "preferred_output")),
        "rejected": read_completion(record.get("non_preferred_output"), Place(origin, "non_preferred_output")),
    }


def _read_preference(record: Mapping[str, Any], origin: str) -> dict[str, Any]:
    chosen = read_completion(record.get("chosen"), Place(origin, "chosen"))
    rejected = read_completion(record.get("rejected"), Place(origin, "rejected"))
    if record.get("prompt") is not None:
        messages = read_prompt(record["prompt"], Place(origin, "prompt"))
    elif isinstance(record["chosen"], str):
        raise Place(origin, "prompt").error(
            "chosen and rejected are texts without a prompt",
            got=", ".join(record),
            allowed="prompt, chosen, rejected",
            fix="add the column prompt",
        )
    else:
        messages, chosen, rejected = _part_prompt(chosen, rejected)
    tools = read_tools(record.get("tools"), Place(origin, "tools"))
    return {"kind": "preference", "messages": messages, "tools": tools, "chosen": chosen, "rejected": rejected}


def _part_prompt(
    chosen: tuple[Message, ...], rejected: tuple[Message, ...]
) -> tuple[tuple[Message, ...], tuple[Message, ...], tuple[Message, ...]]:
    """Take what two conversations have in common as their prompt; each keeps at least its last message."""
    shared = 0
    while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
        shared += 1
    return chosen[:shared], chosen[shared:], rejected[shared:]


def _read_judged(record: Mapping[str, Any], origin: str) -> dict[str, Any]:
    label = record.get("label")
    if not isinstance(label, bool):
        raise Place(origin, "label").error("label must be true or false", got=label, allowed="true, false", fix="true")
    return {
        "kind": "judged",
        "messages": read_prompt(record.get("prompt"), Place(origin, "prompt")),
        "tools": read_tools(record.get("tools"), Place(origin, "tools")),
        "completion": read_completion(record.get("completion"), Place(origin, "completion")),
        "label": label,
    }


def _read_prompt_completion(record: Mapping[str, Any], origin: str) -> dict[str, Any]:
    prompt = read_prompt(record.get("prompt"), Place(origin, "prompt"))
    completion = read_completion(record.get("completion"), Place(origin, "completion"))
    messages = (*_read_system(record, origin), *_untrained(prompt), *completion)
    return {"messages": messages, "tools": read_tools(record.get("tools"), Place(origin, "tools"))}


def _untrained(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Keep answers inside a prompt from being trained: the completion is what the row teaches."""
    return tuple(
        message.model_copy(update={"is_trained": False})
        if message.role == "assistant" and message.is_trained is None
        else message
        for message in messages
    )


def _read_alpaca(record: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Read instruction, input and output; instruction and input are joined by a line end, as LLaMA-Factory does."""
    history = record.get("history") or []
    turns: list[Message] = []
    for index, pair in enumerate(history):
        place = Place(origin, "history").inside(index)
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise place.error(
                "history must hold pairs of texts", got=pair, allowed='["question", "answer"]', fix="mend it"
            )
        turns += [*read_prompt(pair[0], place), *read_completion(pair[1], place)]
    instruction = _read_string(record, "instruction", origin)
    given = _read_string(record, "input", origin, default="")
    asked = "\n".join(part for part in (instruction, given) if part)
    output = _read_string(record, "output", origin)
    last = (Message(role="user", content=asked), Message(role="assistant", content=output))
    return {"messages": (*_read_system(record, origin), *turns, *last)}


def _read_sharegpt_row(record: Mapping[str, Any], origin: str) -> dict[str, Any]:
    messages = read_sharegpt(record.get("conversations"), Place(origin, "conversations"))
    system = () if messages[0].role == "system" else _read_system(record, origin)
    return {"messages": (*system, *messages), "tools": read_tools(record.get("tools"), Place(origin, "tools"))}


def _read_text_row(record: Mapping[str, Any], origin: str) -> dict[str, Any]:
    return {"kind": "text", "text": _read_string(record, "text", origin)}


def _read_system(record: Mapping[str, Any], origin: str) -> tuple[Message, ...]:
    text = _read_string(record, "system", origin, default="")
    return (Message(role="system", content=text),) if text else ()


def _read_string(record: Mapping[str, Any], name: str, origin: str, *, default: str | None = None) -> str:
    value = record.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise Place(origin, name).error(f"{name} must be text", got=value, allowed="text", fix=f'"{name}": "…"')
    return value


def _has(*names: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda record: all(name in record for name in names)


_TESTS: Final[dict[FormName, Callable[[Mapping[str, Any]], bool]]] = {
    "messages": _has("messages"),
    "openai_preference": _has("input", "preferred_output", "non_preferred_output"),
    "preference": _has("chosen", "rejected"),
    "judged": lambda record: _has("prompt", "completion", "label")(record) and isinstance(record["label"], bool),
    "prompt_completion": _has("prompt", "completion"),
    "sharegpt": _has("conversations"),
    "alpaca": _has("instruction", "output"),
    "text": _has("text"),
}
_READERS: Final[dict[FormName, Callable[[Mapping[str, Any], str], dict[str, Any]]]] = {
    "messages": _read_chat,
    "openai_preference": _read_openai_preference,
    "preference": _read_preference,
    "judged": _read_judged,
    "prompt_completion": _read_prompt_completion,
    "alpaca": _read_alpaca,
    "sharegpt": _read_sharegpt_row,
    "text": _read_text_row,
}
