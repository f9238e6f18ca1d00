"""Which characters of a rendered conversation belong to which message, and which of them the model itself writes.

Two ways, each exact or refused:

- a template with generation marks says itself what the model writes;
- for any other, hooks in the template's loops tell the region of each message, and the prompt that would be shown
  before an answer tells where in its region the answer begins; it ends with the token that ends the turn.

Nothing is put into the messages, so no template can trim, split or test what tells them apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from luthier.instruments.text.template_messages import TemplateMessage

Region = tuple[int, int]
"""Characters from start up to end."""

PROBE: Final = "\ue000"
"""A private character that no header of a turn begins with."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What one assistant turn adds to the text.

    Attributes:
        message: Its index in the conversation.
        spans: Regions that the model writes, the end of the turn included.
    """

    message: int
    spans: tuple[Region, ...]

    @property
    def start(self) -> int:
        """Where the first span starts."""
        return self.spans[0][0]

    @property
    def end(self) -> int:
        """Where the last span ends."""
        return self.spans[-1][1]


@dataclass(frozen=True, slots=True)
class Layout:
    """A rendering's text with what its marks told.

    Attributes:
        regions: Non-empty regions of each message, by index.
        generated: Regions inside generation marks with the message they lie in; -1 outside every loop.
    """

    text: str
    regions: dict[int, list[Region]]
    generated: list[tuple[int, Region]]

    @property
    def tail(self) -> str:
        """What follows the last message's region."""
        ends = [end for regions in self.regions.values() for _, end in regions]
        return self.text[max(ends, default=0) :]


class SpansUnclear(Exception):  # noqa: N818  an outcome that ChatTemplate turns into a coded error
    """The template's text cannot be told apart by message."""


class Renderer(Protocol):
    """What finding turns needs of a template."""

    @property
    def has_generation_marks(self) -> bool:
        """Whether the template says itself what the model writes."""
        ...

    @property
    def end_tokens(self) -> tuple[str, ...]:
        """Tokens that end a turn."""
        ...

    def render_plain(self, messages: Sequence[TemplateMessage], *, add_generation_prompt: bool) -> str | None:
        """Render without marks; None where the template refuses."""
        ...

    def render_layout(self, messages: Sequence[TemplateMessage], *, add_generation_prompt: bool) -> Layout | None:
        """Render with marks; None where the template refuses."""
        ...


def read_marks(marked: str, opening: str, closing: str) -> Layout:
    """Take the marks out of a rendering and return what they told."""
    pieces = re.split(f"{opening}([^{closing}]*){closing}", marked)
    text: list[str] = []
    position = 0
    stack: list[tuple[int, int]] = []
    open_marks: list[tuple[int, int]] = []
    regions: dict[int, list[Region]] = {}
    generated: list[tuple[int, Region]] = []
    for piece, name in zip(pieces[::2], [*pieces[1::2], ""], strict=True):
        if piece and stack:
            _extend(regions.setdefault(stack[-1][1], []), (position, position + len(piece)))
        text.append(piece)
        position += len(piece)
        if name == "g":
            open_marks.append((stack[-1][1] if stack else -1, position))
        elif name == "h":
            message, start = open_marks.pop()
            if position > start:
                generated.append((message, (start, position)))
        elif name:
            _move(stack, name)
    return Layout("".join(text), regions, generated)


def _extend(regions: list[Region], new: Region) -> None:
    if regions and regions[-1][1] == new[0]:
        new = (regions.pop()[0], new[1])
    regions.append(new)


def _move(stack: list[tuple[int, int]], name: str) -> None:
    depth, _, index = name[1:].partition(".")
    while stack and stack[-1][0] >= int(depth):
        stack.pop()
    if name[0] == "m":
        stack.append((int(depth), int(index)))


def find_turns(layout: Layout, messages: Sequence[TemplateMessage], renderer: Renderer) -> tuple[Turn, ...]:
    """Find every assistant turn.

    Args:
        layout: The rendering of ``messages``.
        messages: What was rendered.
        renderer: Renders beginnings of the conversation.

    Raises:
        SpansUnclear: When a turn cannot be told from what surrounds it.
    """
    if renderer.has_generation_marks:
        return tuple(_read_generated(layout, messages))
    regions = layout.regions or _find_regions_by_beginnings(layout.text, messages, renderer)
    found = Layout(layout.text, regions, [])
    headers: dict[str, str] = {}
    return tuple(
        _find_turn(found, messages, index, renderer, headers=headers)
        for index, message in enumerate(messages)
        if message["role"] == "assistant" and index in regions
    )


def _read_generated(layout: Layout, messages: Sequence[TemplateMessage]) -> Iterator[Turn]:
    assistants = [index for index, message in enumerate(messages) if message["role"] == "assistant"]
    loose = [region for message, region in layout.generated if message < 0]
    if layout.regions:
        # What is written behind all loops ends the last answer (Phi-3 writes its end token there).
        owners = assistants[-1:] * len(loose)
    elif len(loose) == len(assistants):
        owners = assistants
    else:
        message = "the template's generation marks do not match the assistant's turns"
        raise SpansUnclear(message)
    spans: dict[int, list[Region]] = {}
    for index, region in [*((m, r) for m, r in layout.generated if m >= 0), *zip(owners, loose, strict=False)]:
        spans.setdefault(index, []).append(region)
    for index in sorted(spans):
        yield Turn(index, tuple(sorted(spans[index])))


def _find_regions_by_beginnings(
    text: str, messages: Sequence[TemplateMessage], renderer: Renderer
) -> dict[int, list[Region]]:
    """Tell regions by rendering ever longer beginnings; each must begin the whole."""
    ends: list[int] = [0]
    for number in range(1, len(messages) + 1):
        beginning = renderer.render_plain(messages[:number], add_generation_prompt=False)
        if beginning is None or not text.startswith(beginning):
            message = "the template writes earlier messages differently once later ones follow"
            raise SpansUnclear(message)
        ends.append(len(beginning))
    regions = {index: [(ends[index], ends[index + 1])] for index in range(len(messages))}
    return {index: found for index, found in regions.items() if found[0][0] < found[0][1]}


def _find_turn(
    layout: Layout, messages: Sequence[TemplateMessage], index: int, renderer: Renderer, *, headers: dict[str, str]
) -> Turn:
    """Find one turn.

    What asks for an answer depends on who spoke before: ``headers`` keeps, by that role, how the regions of turns
    begin whose prompt was seen to begin the text, so that not every prompt is rendered.
    """
    if len(layout.regions[index]) != 1:
        message = f"the template writes message {index + 1} in several places"
        raise SpansUnclear(message)
    begin, limit = layout.regions[index][0]
    block = layout.text[begin:limit]
    speaker = str(messages[index - 1]["role"]) if index else ""
    header = headers.get(speaker)
    if header is None or not block.startswith(header):
        prompt = renderer.render_plain(messages[:index], add_generation_prompt=True)
        if prompt is not None and begin <= len(prompt) <= limit and layout.text.startswith(prompt):
            header = headers[speaker] = block[: len(prompt) - begin]
        else:
            header = _find_header(block, messages, index, renderer)
    span = (begin + len(header), limit)
    is_last = index == len(messages) - 1
    return Turn(index, ((span[0], _find_end(layout.text, span, is_last=is_last, renderer=renderer)),))


def _find_header(block: str, messages: Sequence[TemplateMessage], index: int, renderer: Renderer) -> str:
    """Find how a turn begins where the template writes the history differently once an answer follows.

    Then the end of the prompt and the beginning of the turn's region are compared.
    """
    shown = renderer.render_layout(messages[:index], add_generation_prompt=True) if index else None
    if shown is None:
        shown = renderer.render_layout([{"role": "user", "content": PROBE}], add_generation_prompt=True)
    tail = shown.tail if shown else ""
    if tail and block.startswith(tail):
        return tail
    # The prompt shows more than the history keeps, such as the beginning of a thought: the header ends where an answer
    # that begins unlike anything would begin.
    content = PROBE if isinstance(messages[index]["content"], str) else [{"type": "text", "text": PROBE}]
    changed = [*messages[:index], {**messages[index], "content": content}, *messages[index + 1 :]]
    probed = renderer.render_layout(changed, add_generation_prompt=False)
    regions = probed.regions.get(index, []) if probed else []
    header = tail[: _common_length(tail, probed.text[regions[0][0] : regions[0][1]])] if probed and regions else ""
    if not header or not block.startswith(header):
        message = "the prompt that generation shows does not begin an assistant's turn"
        raise SpansUnclear(message)
    return header


def _common_length(left: str, right: str) -> int:
    length = 0
    for one, other in zip(left, right, strict=False):
        if one != other:
            break
        length += 1
    return length


def _find_end(text: str, region: Region, *, is_last: bool, renderer: Renderer) -> int:
    start, limit = region
    found = [
        text.rfind(token, start, limit) + len(token) for token in renderer.end_tokens if token in text[start:limit]
    ]
    if found:
        return max(found)
    if is_last:  # some templates end the last turn behind their loop
        found = [text.find(token, limit) + len(token) for token in renderer.end_tokens if token in text[limit:]]
    return min(found, default=limit)
