"""Nothing of a row may vanish on the way through a template: no turn, no tool call, no tool schema."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from luthier.foundation.core.errors import DataError, LuthierError
from luthier.foundation.schema.rows import Message, Row
from luthier.instruments.text.templates import ChatTemplate, Rendered

_PROBE: Final = "luthier_probe_of_content"


def check_complete(row: Row, rendered: Rendered, template: ChatTemplate) -> None:
    """Refuse a row of which the template leaves something out.

    Raises:
        DataError: E-TXT-004 with everything that is missing.
    """
    missing = list(find_missing(row.messages, row.tools, rendered, template))
    if missing:
        raise DataError(
            "E-TXT-004",
            f"the chat template drops {missing[0]}",
            got=", ".join(missing),
            origin=str(row.origin),
            allowed="a template that writes every message, call and tool",
            fix="--set model.tool_template=chatml_tools, or take these rows out",
        )


def find_missing(
    messages: Sequence[Message], tools: Sequence[dict[str, Any]], rendered: Rendered, template: ChatTemplate
) -> Iterator[str]:
    """Name what the text of a conversation lacks."""
    turns = {turn.message: turn for turn in rendered.turns}
    for index, message in enumerate(messages):
        if message.role == "assistant":
            turn = turns.get(index)
            written = "".join(rendered.text[start:end] for start, end in turn.spans) if turn else ""
            yield from _find_missing_of_turn(index, message, written, template)
        elif not _is_written(index, messages, tools, rendered=rendered, template=template):
            yield f"message {index + 1} ({message.role})"
    for tool in tools:
        name = str(tool.get("function", tool).get("name", ""))
        if name not in rendered.text:
            yield f"the tool {name}"


def _find_missing_of_turn(index: int, message: Message, written: str, template: ChatTemplate) -> Iterator[str]:
    bare = written
    for token in template.end_tokens:
        bare = bare.replace(token, "")
    content = message.text.strip()
    is_kept = not content or content in written or _keeps_end(content, bare)
    if not (written and is_kept):
        yield f"message {index + 1} (assistant)"
    for call in message.tool_calls:
        if call.function.name not in written:
            yield f"the call to {call.function.name} in message {index + 1}"


def _keeps_end(content: str, written: str) -> bool:
    """Tell whether at least what follows a closed thought is written: templates drop old thoughts on purpose."""
    answer = content.rpartition("</think>")[2].strip()
    return bool(answer) and answer in written


def _is_written(
    index: int,
    messages: Sequence[Message],
    tools: Sequence[dict[str, Any]],
    *,
    rendered: Rendered,
    template: ChatTemplate,
) -> bool:
    content = messages[index].text.strip()
    if not content or any(content in rendered.text[start:end] for start, end in rendered.regions.get(index, ())):
        return True
    # Written elsewhere (a system message before the loop) or changed: ask for a text that cannot be there by chance.
    changed = list(messages)
    changed[index] = messages[index].model_copy(update={"content": _PROBE})
    try:
        return _PROBE in template.render_text(changed, tools)
    except LuthierError:
        return content in rendered.text
