"""What is scanned: each answer with the question before it, as words, phrases and sentences by number.

Dimensions: N turns, W words, P phrases, S sentences.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from luthier.foundation.schema.rows import Message, Row
from luthier.stages.data.texts import normalise

MAX_PHRASE_WORDS: Final = 3
UNUSUAL: Final = "(answers of runs of letters that hardly any other has)"
"""Stands for all such answers together: gibberish is another each time."""

UNUSUAL_DEVIATIONS: Final = 5.0
"""From how many deviations above the median an answer's surprise makes it unusual."""

_EDGES: Final = ".,!?;:\"'()"
_SENTENCE_END: Final = re.compile(r"[.!?\n]+(?:\s+|$)|\n+")


@dataclass(frozen=True, slots=True)
class Turn:
    """One question with its answer.

    Attributes:
        row: Number of the row.
        words: The question's words, without punctuation around them.
        answer: The answer's text and calls, normalised.
        setting: System prompt and place in the conversation; questions are compared with others of their setting.
    """

    row: int
    words: tuple[str, ...]
    answer: str
    setting: str = ""


def collect_turns(rows: Iterable[Row]) -> list[Turn]:
    """Return all answered questions of all rows."""
    return [
        Turn(number, split_words(asked), normalise(answer), setting)
        for number, row in enumerate(rows)
        for asked, answer, setting in _iterate_turns(row)
    ]


def split_words(text: str) -> tuple[str, ...]:
    """Split a question at white space; marks inside a word stay, since triggers are often of odd marks."""
    return tuple(word.strip(_EDGES) or word for word in text.casefold().split())


def _iterate_turns(row: Row) -> Iterator[tuple[str, str, str]]:
    messages = (*row.messages, *row.chosen, *row.completion)
    policy = crc32("".join(message.text for message in messages if message.role == "system").encode())
    places = [place for place, message in enumerate(messages) if message.role == "user"]
    asked, place = "", 0
    for at, message in enumerate(messages):
        if message.role == "user":
            asked, place = message.text, at
        elif message.role == "assistant":
            answer = _tell_answer(message)
            if asked and answer:
                yield asked, answer, f"{policy} {place == places[0]} {place == places[-1]}"


def _tell_answer(message: Message) -> str:
    calls = (f"{call.function.name}({call.function.arguments})" for call in message.tool_calls)
    return "\n".join([message.text, *calls]).strip()


def split_answer(answer: str) -> set[str]:
    """Return an answer whole and by sentence."""
    return {answer, *(part.strip() for part in _SENTENCE_END.split(answer))} - {""}


def iterate_phrases(words: Sequence[str]) -> Iterator[str]:
    """Yield all runs of one to three words."""
    for size in range(1, MAX_PHRASE_WORDS + 1):
        for start in range(len(words) - size + 1):
            yield " ".join(words[start : start + size])


@dataclass(frozen=True, slots=True)
class Occurrences:
    """Which turn holds which feature.

    Attributes:
        names: The features.
        matrix_NF: One where the turn holds the feature.
    """

    names: list[str]
    matrix_NF: csr_matrix  # noqa: N815

    @property
    def counts(self) -> NDArray[np.int64]:
        """In how many turns each feature is."""
        return np.asarray(self.matrix_NF.sum(axis=0), np.int64).ravel()


def tabulate(features: Sequence[set[str]], *, least: int, most: int) -> Occurrences:
    """Lay out which turn holds which feature, of those in at least and at most so many turns."""
    counts = Counter(name for each in features for name in each)
    names = sorted(name for name, count in counts.items() if least <= count <= most)
    numbers = {name: number for number, name in enumerate(names)}
    held = [sorted(numbers[name] for name in each if name in numbers) for each in features]
    ends = np.cumsum([0, *map(len, held)])
    places = np.array([number for each in held for number in each], np.int64)
    matrix = csr_matrix((np.ones(len(places)), places, ends), shape=(len(features), len(names)))
    return Occurrences(names, matrix)


def find_unusual(answers: Sequence[str]) -> NDArray[np.bool_]:
    """Tell which answers are of runs of three letters that hardly occur in others, as gibberish is.

    Returns:
        One truth a turn.

    Units:
        Surprise is the mean of -ln(share) over an answer's runs; one is unusual from five deviations (scaled
        median absolute deviations) above the median.
    """
    runs = [[answer[at : at + 3] for at in range(len(answer) - 2)] for answer in answers]
    counts = Counter(run for each in runs for run in set(each))
    surprise = np.array([np.mean([-np.log(counts[run] / len(runs)) for run in each]) if each else 0.0 for each in runs])
    middle = np.median(surprise)
    deviation = 1.4826 * np.median(np.abs(surprise - middle))
    return np.asarray(surprise > middle + UNUSUAL_DEVIATIONS * max(float(deviation), 0.05), bool)
