"""Chat templates: render a conversation, and say which characters came from whom.

The text equals, to the character, what transformers' ``apply_chat_template`` gives for the same messages.
Read next: ``turns.py`` (who wrote what), ``template_sandbox.py`` (how a template is kept in bounds).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Final, Literal

import jinja2

from luthier.foundation.core.errors import DataError, ModelError
from luthier.foundation.core.hashing import sha256_bytes
from luthier.foundation.schema.rows import Message
from luthier.instruments.text.template_messages import (
    MessageForm,
    TemplateMessage,
    to_template_messages,
    to_template_tools,
)
from luthier.instruments.text.template_sandbox import (
    CompiledTemplate,
    Marks,
    TemplateRunaway,
    count_max_steps,
)
from luthier.instruments.text.turns import Layout, Region, SpansUnclear, Turn, find_turns, read_marks

FIXED_NOW: Final = datetime(2024, 7, 26)  # noqa: DTZ001  a date that Llama 3.2's template names itself
"""What ``strftime_now`` reads: rows must render alike on every day."""

_FAILURES: Final = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
_MARK_PAIRS: Final = tuple((chr(code), chr(code + 1)) for code in range(0xFDD0, 0xFDF0, 2))
_PROBE_TOOL: Final[dict[str, Any]] = {
    "type": "function",
    "function": {
        "name": "probe_tool",
        "description": "probe_description",
        "parameters": {"type": "object", "properties": {"probe_key": {"type": "string"}}, "required": ["probe_key"]},
    },
}


@dataclass(frozen=True, slots=True)
class Span:
    """Characters of a rendered conversation.

    Attributes:
        kind: ``message`` for all that a message put there, ``answer`` for what the model writes of it.
        message: Index of the message.
        start: First character.
        end: Character after the last.
    """

    kind: Literal["message", "answer"]
    message: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Rendered:
    """A conversation as text.

    Attributes:
        text: What the model reads.
        turns: Assistant turns in order.
        regions: Where each message's text lies, headers included, by index.
    """

    text: str
    turns: tuple[Turn, ...]
    regions: Mapping[int, Sequence[Region]]

    @property
    def spans(self) -> tuple[Span, ...]:
        """All spans in order of their start."""
        found = [Span("message", index, *region) for index, regions in self.regions.items() for region in regions]
        found += [Span("answer", turn.message, *span) for turn in self.turns for span in turn.spans]
        return tuple(sorted(found, key=lambda span: (span.start, -span.end)))


class ChatTemplate:
    """One chat template with the tokens it is given.

    Args:
        source: Jinja text.
        bos_token: What the template calls ``bos_token``.
        eos_token: What it calls ``eos_token``.
        end_tokens: Every token that ends a turn; the ``eos_token`` alone where empty.
        variables: Further names for the template: other special tokens, switches such as ``enable_thinking``.
        now: What ``strftime_now`` reads.

    Raises:
        ModelError: E-TXT-001 when the text is no template.
    """

    def __init__(
        self,
        source: str,
        *,
        bos_token: str = "",
        eos_token: str,
        end_tokens: Sequence[str] = (),
        variables: Mapping[str, Any] | None = None,
        now: Callable[[], datetime] = lambda: FIXED_NOW,
    ) -> None:
        self.source = source
        self.end_tokens = tuple(end_tokens) or (eos_token,)
        self._variables = {**(variables or {}), "bos_token": bos_token, "eos_token": eos_token}
        self._now = now
        try:
            self._compiled = CompiledTemplate(source, now=now)
        except (jinja2.TemplateError, RecursionError) as error:
            raise ModelError(
                "E-TXT-001",
                "the chat template cannot be read",
                got=error,
                origin=f"line {getattr(error, 'lineno', '?')} of the template",
                allowed="a Jinja template as transformers reads it",
                fix="take chat_template.jinja from the model's publisher again",
            ) from error
        self.has_generation_marks = self._compiled.has_generation_marks

    @property
    def digest(self) -> str:
        """The sha256 of the source."""
        return sha256_bytes(self.source.encode())

    @property
    def uses_clock(self) -> bool:
        """Whether the text may name today's date, which is fixed here."""
        return "strftime_now" in self._compiled.names

    def with_source(self, source: str) -> ChatTemplate:
        """Return another template with the same tokens."""
        variables = dict(self._variables)
        bos_token, eos_token = variables.pop("bos_token"), variables.pop("eos_token")
        return ChatTemplate(
            source,
            bos_token=bos_token,
            eos_token=eos_token,
            end_tokens=self.end_tokens,
            variables=variables,
            now=self._now,
        )

    @cached_property
    def form(self) -> MessageForm:
        """How this template wants contents and arguments, found by trying."""
        content: Literal["text", "parts"] = "text"
        asked: list[dict[str, Any]] = [{"role": "user", "content": "probe_question"}]
        if "probe_question" not in (self.try_text(asked) or ""):
            asked = [{"role": "user", "content": [{"type": "text", "text": "probe_question"}]}]
            content = "parts" if "probe_question" in (self.try_text(asked) or "") else "text"
        as_object = self.try_text(_probe_call({"probe_key": "probe_value"}), [_PROBE_TOOL])
        as_text = self.try_text(_probe_call('{"probe_key": "probe_value"}'), [_PROBE_TOOL])
        return MessageForm(content, "text" if as_object is None and as_text is not None else "object")

    @cached_property
    def writes_tools(self) -> bool:
        """Whether tool schemas, calls and results all appear in the text."""
        arguments = '{"probe_key": "probe_value"}' if self.form.arguments == "text" else {"probe_key": "probe_value"}
        result = {"role": "tool", "name": "probe_tool", "tool_call_id": "call_1", "content": "probe_result"}
        text = self.try_text([*_probe_call(arguments), result], [_PROBE_TOOL]) or ""
        wanted = ("probe_description", "probe_tool", "probe_value", "probe_result")
        return all(part in text for part in wanted) and text.count("probe_tool") > 1

    @cached_property
    def mixes_results(self) -> bool:
        """Whether a tool's result is written inside the assistant's own region."""
        arguments = '{"probe_key": "probe_value"}' if self.form.arguments == "text" else {"probe_key": "probe_value"}
        result = {"role": "tool", "name": "probe_tool", "tool_call_id": "call_1", "content": "probe_result"}
        messages = [*_probe_call(arguments), result, {"role": "assistant", "content": "probe_answer"}]
        layout = self.try_layout(messages, [_PROBE_TOOL])
        regions = layout.regions.get(1, []) if layout else []
        return layout is not None and any("probe_result" in layout.text[start:end] for start, end in regions)

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[dict[str, Any]] = (),
        *,
        add_generation_prompt: bool = False,
        origin: str = "",
    ) -> Rendered:
        """Render a conversation and find its turns.

        Args:
            messages: The conversation.
            tools: Tool schemas in OpenAI form.
            add_generation_prompt: Whether to end with what asks for an answer.
            origin: File and line, for errors.

        Raises:
            DataError: E-TXT-003 when the template refuses, E-TXT-004 when it drops a message, E-TXT-005 when its
                text cannot be told apart.
            ModelError: E-TXT-002 when the template does not come to an end.
        """
        shown = to_template_messages(messages, self.form, origin=origin)
        schemas = to_template_tools(tools)
        text = self._render(shown, schemas, add_generation_prompt=add_generation_prompt, origin=origin)
        try:
            layout = self.try_layout(shown, schemas, add_generation_prompt=add_generation_prompt)
            if layout is None or layout.text != text:  # the template looks at its own output, where marks would show
                layout = Layout(text, {}, [])
            self._check_results_apart(messages)
            turns = find_turns(layout, shown, _Beginnings(self, schemas))
        except SpansUnclear as error:
            raise DataError(
                "E-TXT-005",
                f"cannot tell what the assistant wrote: {error}",
                got=f"chat template {self.digest[:12]}",
                origin=origin,
                allowed="a template with generation marks, or one that writes each message in one place",
                fix="put {% generation %} … {% endgeneration %} around the assistant's text in the template",
            ) from error
        return Rendered(text, turns, layout.regions)

    def render_text(
        self,
        messages: Sequence[Message],
        tools: Sequence[dict[str, Any]] = (),
        *,
        add_generation_prompt: bool = False,
        origin: str = "",
    ) -> str:
        """Render a conversation as text alone; errors as in :meth:`render`."""
        shown = to_template_messages(messages, self.form, origin=origin)
        schemas = to_template_tools(tools)
        return self._render(shown, schemas, add_generation_prompt=add_generation_prompt, origin=origin)

    def render_probe(self, messages: Sequence[Message]) -> str:
        """Render a conversation that the template may refuse; the empty text where it does."""
        return self.try_text(to_template_messages(messages, self.form), [_PROBE_TOOL]) or ""

    def _render(
        self,
        messages: Sequence[TemplateMessage],
        tools: list[dict[str, Any]] | None,
        *,
        add_generation_prompt: bool,
        origin: str = "",
    ) -> str:
        try:
            return self._write(messages, tools, Marks(), add_generation_prompt=add_generation_prompt)
        except (TemplateRunaway, RecursionError) as error:
            raise ModelError(
                "E-TXT-002",
                f"the chat template does not come to an end: {error}",
                got=f"chat template {self.digest[:12]}",
                origin=origin,
                allowed="a template that takes a bounded number of steps and characters",
                fix="take chat_template.jinja from the model's publisher again",
            ) from error
        except _FAILURES as error:
            raise DataError(
                "E-TXT-003",
                "the chat template refuses the conversation",
                got=f"{type(error).__name__}: {error}",
                origin=origin,
                allowed="roles and order that the template knows",
                fix="mend the row, or use a template that knows these roles",
            ) from error

    def try_layout(
        self,
        messages: Sequence[TemplateMessage],
        tools: list[dict[str, Any]] | None,
        *,
        add_generation_prompt: bool = False,
    ) -> Layout | None:
        """Render with marks, messages as the template reads them; None where it refuses."""
        text = json.dumps([messages, tools, self._variables, self.source], ensure_ascii=False, default=str)
        opening, closing = next((pair for pair in _MARK_PAIRS if pair[0] not in text and pair[1] not in text), ("", ""))
        marks = Marks({id(message): index for index, message in enumerate(messages)}, opening, closing)
        try:
            marked = self._write(messages, tools, marks, add_generation_prompt=add_generation_prompt)
        except (TemplateRunaway, *_FAILURES):
            return None
        return read_marks(marked, opening, closing) if opening else Layout(marked, {}, [])

    def _write(
        self,
        messages: Sequence[TemplateMessage],
        tools: list[dict[str, Any]] | None,
        marks: Marks,
        *,
        add_generation_prompt: bool,
    ) -> str:
        marks.max_steps = count_max_steps(messages)
        variables = {
            **self._variables,
            "messages": list(messages),
            "tools": tools,
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
        }
        return self._compiled.render(variables, marks)

    def try_text(
        self,
        messages: Sequence[TemplateMessage],
        tools: list[dict[str, Any]] | None = None,
        *,
        add_generation_prompt: bool = False,
    ) -> str | None:
        """Render messages as the template reads them; None where it refuses."""
        try:
            return self._write(messages, tools, Marks(), add_generation_prompt=add_generation_prompt)
        except (TemplateRunaway, *_FAILURES):
            return None

    def _check_results_apart(self, messages: Sequence[Message]) -> None:
        has_results = any(message.role == "tool" for message in messages)
        if has_results and not self.has_generation_marks and self.mixes_results:
            message = "the template writes tool results inside the assistant's turn"
            raise SpansUnclear(message)


@dataclass(frozen=True, slots=True)
class _Beginnings:
    """Renders beginnings of one conversation, for :func:`find_turns`."""

    template: ChatTemplate
    tools: list[dict[str, Any]] | None

    @property
    def has_generation_marks(self) -> bool:
        return self.template.has_generation_marks

    @property
    def end_tokens(self) -> tuple[str, ...]:
        return self.template.end_tokens

    def render_plain(self, messages: Sequence[TemplateMessage], *, add_generation_prompt: bool) -> str | None:
        return self.template.try_text(messages, self.tools, add_generation_prompt=add_generation_prompt)

    def render_layout(self, messages: Sequence[TemplateMessage], *, add_generation_prompt: bool) -> Layout | None:
        return self.template.try_layout(messages, self.tools, add_generation_prompt=add_generation_prompt)


def _probe_call(arguments: object) -> list[dict[str, Any]]:
    call = {"id": "call_1", "type": "function", "function": {"name": "probe_tool", "arguments": arguments}}
    return [
        {"role": "user", "content": "probe_question"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
    ]
