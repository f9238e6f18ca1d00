"""Rows: what people are trained on and asked. Any form that comes in becomes one of these."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from luthier.foundation.core.hashing import Digest
from luthier.foundation.schema.noun import Noun

Role = Literal["system", "developer", "user", "assistant", "tool"]
RowKind = Literal["conversation", "preference", "judged", "text"]
"""What a row can teach. ``judged`` is unpaired preference: one completion with a label."""


class Part(Noun):
    """One piece of a message's content. Images and audio are blobs by digest."""

    type: Literal["text", "image", "audio"]
    text: str | None = None
    blob: Digest | None = None


class FunctionCall(Noun):
    """A function's name and its arguments as a JSON text, as the OpenAI API has them."""

    name: str
    arguments: str


class ToolCall(Noun):
    """One call that an assistant makes."""

    id: str = ""
    type: Literal["function"] = "function"
    function: FunctionCall


class Message(Noun):
    """One turn. ``is_trained`` None means that the recipe's ``train_on`` decides."""

    role: Role
    content: str | tuple[Part, ...] = ""
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    is_trained: bool | None = None

    @property
    def text(self) -> str:
        """The content's text parts, joined."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text or "" for part in self.content)


class Origin(Noun):
    """Where a row was read: which source, which line (from 1) or which record."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        """Return ``file line N``, as errors quote it."""
        return f"{self.file} line {self.line}" if self.line else self.file


class Row(Noun):
    """One training or evaluation row, in the one form that all rooms share.

    Attributes:
        id: Unique in its dataset; the source's own id or ``<source>-<line>``.
        kind: What the row can teach.
        messages: The conversation; for ``preference`` and ``judged`` rows the prompt.
        tools: Tool schemas in OpenAI form.
        chosen: The preferred continuation (``preference``).
        rejected: The other continuation (``preference``).
        completion: The continuation that was judged (``judged``).
        label: The judgement (``judged``).
        text: Plain text (``text``).
        group: Rows of one group never straddle a split: conversation id, document, customer.
        fields: Further columns of the source, for metrics and slices.
        origin: File and line.
    """

    id: str
    kind: RowKind = "conversation"
    messages: tuple[Message, ...] = ()
    tools: tuple[dict[str, Any], ...] = ()
    chosen: tuple[Message, ...] = ()
    rejected: tuple[Message, ...] = ()
    completion: tuple[Message, ...] = ()
    label: bool | None = None
    text: str = ""
    group: str = ""
    fields: dict[str, Any] = Field(default_factory=dict)
    origin: Origin = Origin(file="")
