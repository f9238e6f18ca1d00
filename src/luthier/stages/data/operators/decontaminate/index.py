"""What the evaluation sets ask, laid out so that one pass over a training row's words finds it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from luthier.foundation.schema.rows import Row
from luthier.stages.data.operators.decontaminate.config import Config
from luthier.stages.data.texts import iterate_spoken, split_words

MIN_DIALOGUE_GRAMS: Final = 5
"""Fewest n-grams of a row with several questions: one alone is a stock phrase, such as thanks at the end."""

Place = tuple[str, str]
"""Name of the evaluation set and id of its row."""


@dataclass(frozen=True, slots=True)
class Leak:
    """How a training row repeats an evaluation row."""

    reason: str
    place: Place
    share: float = 1.0


@dataclass(slots=True)
class LeakIndex:
    """Evaluation rows by what they say, what they ask, and their n-grams.

    Attributes:
        wholes: Everything said in a row, normalised.
        questions: The one question of a row with a single user turn.
        quotable: First words of short questions, to the whole question's words.
        grams: Each n-gram of what users say to the rows that hold it; answers are not looked at, since the
            stock phrases of assistants are the same everywhere.
        num_grams: Number of distinct n-grams a row has.
    """

    config: Config
    wholes: dict[str, Place] = field(default_factory=dict)
    questions: dict[str, Place] = field(default_factory=dict)
    quotable: defaultdict[str, list[tuple[str, int, Place]]] = field(default_factory=lambda: defaultdict(list))
    grams: defaultdict[str, set[Place]] = field(default_factory=lambda: defaultdict(set))
    num_grams: dict[Place, int] = field(default_factory=dict)

    @classmethod
    def build(cls, held_out: Mapping[str, Sequence[Row]], config: Config) -> LeakIndex:
        """Index all rows of all evaluation sets."""
        index = cls(config)
        for name, rows in held_out.items():
            for row in rows:
                index._add(row, (name, row.id))
        return index

    def _add(self, row: Row, place: Place) -> None:
        spoken = [(role, split_words(text)) for role, text in iterate_spoken(row)]
        self.wholes.setdefault(_join(spoken), place)
        asked = [words for role, words in spoken if role == "user" and words]
        if len(asked) == 1:
            question = asked[0]
            self.questions.setdefault(" ".join(question), place)
            if self.config.min_words <= len(question):
                head = " ".join(question[: self.config.min_words])
                self.quotable[head].append((" ".join(question), len(question), place))
        found = {gram for role, words in spoken if role != "assistant" for gram in self._iterate_grams(words)}
        if len(found) >= (MIN_DIALOGUE_GRAMS if len(asked) > 1 else 1):
            self.num_grams[place] = len(found)
            for gram in found:
                self.grams[gram].add(place)

    def find_leak(self, row: Row) -> Leak | None:
        """Return how a training row repeats an evaluation row, the plainest way first; None where it does not."""
        spoken = [(role, split_words(text)) for role, text in iterate_spoken(row)]
        whole = self.wholes.get(_join(spoken))
        if whole is not None:
            return Leak("same_row", whole)
        for role, words in spoken:
            place = self.questions.get(" ".join(words)) if role != "assistant" else None
            if place is not None:
                return Leak("same_question", place)
        for _, words in spoken:
            place = self._find_quotation(words)
            if place is not None:
                return Leak("quoted_question", place)
        return self._find_overlap([words for _, words in spoken])

    def _find_quotation(self, words: list[str]) -> Place | None:
        size = self.config.min_words
        for start in range(len(words) - size + 1):
            for question, length, place in self.quotable.get(" ".join(words[start : start + size]), ()):
                if " ".join(words[start : start + length]) == question:
                    return place
        return None

    def _find_overlap(self, texts: list[list[str]]) -> Leak | None:
        if not self.grams:
            return None
        shared: Counter[Place] = Counter()
        for gram in {gram for words in texts for gram in self._iterate_grams(words)}:
            shared.update(self.grams.get(gram, ()))
        shares = ((count / self.num_grams[place], place) for place, count in shared.items())
        share, place = max(shares, default=(0.0, ("", "")))
        return Leak("shared_ngrams", place, round(share, 4)) if share >= self.config.overlap else None

    def _iterate_grams(self, words: list[str]) -> Iterator[str]:
        size = self.config.ngram
        for start in range(len(words) - size + 1):
            yield " ".join(words[start : start + size])


def _join(spoken: list[tuple[str, list[str]]]) -> str:
    return "\n".join(f"{role}: {' '.join(words)}" for role, words in spoken)
