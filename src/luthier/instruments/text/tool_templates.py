"""Tool templates for bases whose own chat template knows no tools.

The base's text for conversations without tools stays as it is, to the character: this is checked, and a base for which
it does not hold gets no tool template.
"""

from __future__ import annotations

import json
from typing import Final

from luthier.foundation.core.errors import LuthierError, ModelError
from luthier.foundation.schema.rows import Message
from luthier.instruments.text.templates import ChatTemplate
from luthier.instruments.text.tool_templates_table import CHATML_TOOLS

OWN: Final = "own"
NONE: Final = "none"
CHATML: Final = "chatml_tools"
NAMES: Final = (OWN, NONE, CHATML)

_SYSTEM_START: Final = "<|im_start|>system\n"
_TURN_END: Final = "<|im_end|>\n"


def choose_tool_template(template: ChatTemplate, name: str = "auto") -> tuple[str, str]:
    """Choose the template that a base is trained and served with.

    Args:
        template: The base's own.
        name: ``auto``; ``own`` or ``none`` for the base's template as it stands; ``chatml_tools``.

    Returns:
        What was chosen and its source: ``own`` where the base writes tools, calls and results itself,
        ``chatml_tools`` where it is ChatML without tools, else ``none`` (rows with tools are then refused).

    Raises:
        ModelError: E-TXT-017 for an unknown name, or one that does not fit the base.
    """
    if name in {OWN, NONE}:
        return name, template.source
    if name == "auto" and template.writes_tools:
        return OWN, template.source
    extended = _extend_chatml(template)
    if name == "auto":
        return (CHATML, extended) if extended is not None else (NONE, template.source)
    if name != CHATML or extended is None:
        raise ModelError(
            "E-TXT-017",
            "the base does not write conversations as ChatML does"
            if name == CHATML
            else "no tool template has this name",
            got=name,
            allowed=", ".join(("auto", *NAMES)),
            fix="--set model.tool_template=auto",
            field="model.tool_template",
        )
    return CHATML, extended


def _extend_chatml(template: ChatTemplate) -> str | None:
    """Return ChatML with tools and the base's own default system message; None where the base is not ChatML."""
    default = _find_default_system(template)
    if default is None:
        return None
    source = CHATML_TOOLS.replace("DEFAULT_SYSTEM", json.dumps(default, ensure_ascii=False))
    extended = template.with_source(source)
    return source if all(_writes_alike(template, extended, messages) for messages in _probes()) else None


def _find_default_system(template: ChatTemplate) -> str | None:
    try:
        text = template.render_text((Message(role="user", content="probe"),))
    except LuthierError:
        return None
    head, found, _ = text.partition("<|im_start|>user\nprobe<|im_end|>")
    if not found or not (head == "" or (head.startswith(_SYSTEM_START) and head.endswith(_TURN_END))):
        return None
    return head.removeprefix(_SYSTEM_START).removesuffix(_TURN_END)


def _probes() -> tuple[tuple[Message, ...], ...]:
    system, user = Message(role="system", content="probe system"), Message(role="user", content=" probe user\n")
    answer, empty = Message(role="assistant", content="probe answer "), Message(role="assistant", content="")
    return ((user,), (system, user), (user, answer, user), (system, user, answer, user, answer), (user, empty))


def _writes_alike(base: ChatTemplate, extended: ChatTemplate, messages: tuple[Message, ...]) -> bool:
    try:
        return all(
            base.render_text(messages, add_generation_prompt=asks)
            == extended.render_text(messages, add_generation_prompt=asks)
            for asks in (False, True)
        )
    except LuthierError:
        return False
