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
    turns = []
    for index, message in enumerate(messages):
        if message["role"] == "assistant" and index in regions:
            # What asks for an answer depends on who spoke before: one prompt rendered for each is enough.
            before = str(messages[index - 1]["role"]) if index else ""
            turn = _find_turn(found, messages, index, renderer, header=headers.get(before))
            headers.setdefault(before, found.text[regions[index][0][0] : turn.start])
            turns.append(turn)
    return tuple(turns)


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
    layout: Layout, messages: Sequence[TemplateMessage], index: int, renderer: Renderer, *, header: str | None
) -> Turn:
    if len(layout.regions[index]) != 1:
        message = f"the template writes message {index + 1} in several places"
        raise SpansUnclear(message)
    begin, limit = layout.regions[index][0]
    block = layout.text[begin:limit]
    if header is not None and block.startswith(header):
        start = begin + len(header)
    else:
        start = begin + _measure_header(layout.text, (begin, limit), messages[:index], renderer)
    is_last = index == len(messages) - 1
    return Turn(index, ((start, _find_end(layout.text, (start, limit), is_last=is_last, renderer=renderer)),))


def _measure_header(text: str, region: Region, before: Sequence[TemplateMessage], renderer: Renderer) -> int:
    """Measure how much of a turn's region the prompt provides that generation would show before it."""
    begin, limit = region
    block = text[begin:limit]
    prompt = renderer.render_plain(before, add_generation_prompt=True)
    if prompt is not None and begin <= len(prompt) <= limit and text.startswith(prompt):
        return len(prompt) - begin
    # The template writes the history differently once an answer follows: compare the ends of both.
    shown = renderer.render_layout(before, add_generation_prompt=True) if before else None
    if shown is None:
        before = [{"role": "user", "content": PROBE}]
        shown = renderer.render_layout(before, add_generation_prompt=True)
    tail = shown.tail if shown else ""
    if tail and block.startswith(tail):
        return len(tail)
    probed = renderer.render_layout([*before, {"role": "assistant", "content": PROBE}], add_generation_prompt=False)
    regions = probed.regions.get(len(before), []) if probed else []
    header = _common_length(tail, probed.text[regions[0][0] : regions[0][1]]) if probed and regions else 0
    if not header or not block.startswith(tail[:header]):
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
