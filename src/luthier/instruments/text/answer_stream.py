"""An answer's tokens to text as they come: never half a character, never half a stop text, never half a tool call.

Text goes out as soon as nothing that may follow can take it back. What was given out, together with what ``close``
gives, is the whole answer, however its tokens were cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from luthier.foundation.schema.rows import ToolCall
from luthier.instruments.text.tokens import TextTokenizer
from luthier.instruments.text.tool_calls import parse_tool_calls

HERMES_OPENINGS: Final = ("<tool_call>", "\n<tool_call>")
"""Where a call begins; the line end before it belongs to no content."""
_HALF: Final = "\ufffd"


@dataclass(frozen=True, slots=True)
class Closing:
    """What remains of an answer when it ends.

    Attributes:
        text: The part of the content that was still held back.
        calls: The calls in the answer.
    """

    text: str
    calls: tuple[ToolCall, ...] = ()


class AnswerStream:
    """One answer on its way to text.

    Args:
        tokenizer: Turns tokens into text.
        stop: Texts that end the answer and are not part of it; the first that is complete ends it.
        call_style: How calls are written, where they are looked for; see :data:`tool_calls.CallStyle`.
    """

    def __init__(self, tokenizer: TextTokenizer, *, stop: Sequence[str] = (), call_style: str = "none") -> None:
        self._tokenizer = tokenizer
        self._stop = tuple(text for text in stop if text)
        self._call_style = call_style
        self._ids: list[int] = []
        self._start = 0  # tokens from here on are decoded together
        self._read = 0  # tokens up to here are in the text
        self._text = ""
        self._num_given = 0
        self.is_stopped = False

    def add(self, token_id: int) -> str:
        """Take the next token and return the text that is certain now; empty after a stop text."""
        if self.is_stopped:
            return ""
        self._ids.append(token_id)
        known = self._tokenizer.decode(self._ids[self._start : self._read])
        window = self._tokenizer.decode(self._ids[self._start :])
        if window.endswith(_HALF):
            return ""
        self._start, self._read = self._read, len(self._ids)
        return self._give(window[len(known) :])

    def close(self) -> Closing:
        """Return what was held back, and the calls; the answer has ended."""
        if not self.is_stopped and self._read < len(self._ids):
            known = self._tokenizer.decode(self._ids[self._start : self._read])
            self._take(self._tokenizer.decode(self._ids[self._start :])[len(known) :])
        content, calls = parse_tool_calls(self._text, self._call_style)
        return Closing(content[self._num_given :], calls)

    def _give(self, text: str) -> str:
        self._take(text)
        end = len(self._text) if self.is_stopped else self._find_certain_end()
        if self._call_style != "none":
            end = min(end, self._find_call_free_end())
        given = self._text[self._num_given : end]
        self._num_given = max(self._num_given, end)
        return given

    def _take(self, text: str) -> None:
        """Append text up to the first complete stop text."""
        start = len(self._text)
        self._text += text
        if not self._stop:
            return
        longest = max(map(len, self._stop))
        begin = max(self._num_given, start - longest + 1)
        ends = [(place + len(stop), place) for stop in self._stop if (place := self._text.find(stop, begin)) >= 0]
        if ends:
            self._text = self._text[: min(ends)[1]]
            self.is_stopped = True

    def _find_certain_end(self) -> int:
        """Return the first place from which on the text may be the beginning of a stop text."""
        return min((_find_beginning(self._text, stop) for stop in self._stop), default=len(self._text))

    def _find_call_free_end(self) -> int:
        """Return up to where the text is content whatever follows."""
        blank = len(self._text) - len(self._text.lstrip())
        if blank == len(self._text):
            return 0  # blanks before a call are no content
        if self._call_style == "llama":
            return 0 if self._text[blank] == "{" else len(self._text)
        openings = [place for opening in HERMES_OPENINGS if (place := self._text.find(opening)) >= 0]
        begun = [_find_beginning(self._text, opening) for opening in HERMES_OPENINGS]
        end = min([*openings, *begun])
        return 0 if end <= blank else end


def _find_beginning(text: str, whole: str) -> int:
    """Return where the longest end of the text that is a proper beginning of ``whole`` starts."""
    for length in range(min(len(whole) - 1, len(text)), 0, -1):
        if text.endswith(whole[:length]):
            return len(text) - length
    return len(text)
