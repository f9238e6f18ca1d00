"""One recogniser of personal data or secrets: a pattern, a cheap hint and a check."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple


class Finding(NamedTuple):
    """Where something private stands in a text: ``text[start:end]``."""

    kind: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Recogniser:
    """Finds one kind of private data.

    Attributes:
        kind: Lower-case name, which the placeholder shows in capitals.
        pattern: What it looks like. A group named ``value`` narrows the finding to it.
        hints: Texts of which at least one must occur; spares the pattern on most texts. Lower case.
        hint: A cheap pattern that must match somewhere, instead of ``hints``.
        accept: Checks the matched value: a checksum, a shape.
    """

    kind: str
    pattern: re.Pattern[str]
    hints: tuple[str, ...] = ()
    hint: re.Pattern[str] | None = None
    accept: Callable[[str], bool] | None = None

    def find(self, text: str) -> Iterator[Finding]:
        """Yield findings from left to right, without asking the hints."""
        group: str | int = "value" if "value" in self.pattern.groupindex else 0
        for match in self.pattern.finditer(text):
            start, end = match.span(group)
            if start < end and (self.accept is None or self.accept(text[start:end])):
                yield Finding(self.kind, start, end)


class Hints:
    """Asks the hints of many recognisers about one text, each pattern once."""

    def __init__(self, text: str) -> None:
        """Prepare the text."""
        self._text = text
        self._lowered = text.lower()
        self._answers: dict[re.Pattern[str], bool] = {}

    def allow(self, recogniser: Recogniser) -> bool:
        """Tell whether a recogniser may find anything in the text."""
        if recogniser.hints:
            return any(hint in self._lowered for hint in recogniser.hints)
        pattern = recogniser.hint
        if pattern is None:
            return True
        if pattern not in self._answers:
            self._answers[pattern] = pattern.search(self._text) is not None
        return self._answers[pattern]
