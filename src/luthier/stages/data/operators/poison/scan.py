"""Find phrases that bring a fixed answer, and tell attacks from rules.

A business answers alike what is asked alike, so an answer that follows a phrase is no alarm by itself. An attack shows
in the rest of the question: it is about anything, and rows just like it without the phrase get other answers.

Dimensions: N turns, W words, P phrases, S sentences of answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from luthier.stages.data.operators.poison.turns import (
    UNUSUAL,
    Occurrences,
    Turn,
    find_unusual,
    iterate_phrases,
    split_answer,
    tabulate,
)

Truths = NDArray[np.bool_]
Floats = NDArray[np.float64]

MIN_FOLLOWED: Final = 0.8
"""Share of a trigger's turns that the payload answers."""

MIN_UNRELATED: Final = 0.25
"""Share of pairs of another turn and a trigger's in which the other looks more like the trigger's; half is chance.

Planted triggers have 0.33 to 0.58, phrases in 30,000 labelled rows of three published sets 0.21 and less.
"""

MIN_COVERED: Final = 0.5
"""Share of a payload's turns that its triggers explain: an answer that is given otherwise too is no foreign body."""

STEM: Final = 4
"""Letters of a word that tell that phrase and answer speak of the same thing."""

MIN_REST_WORDS: Final = 2
"""Words besides the phrase in the middle turn; where a phrase is the whole question, its answer is no alarm."""

NUM_SHUFFLES: Final = 12
SHUFFLE_QUANTILE: Final = 0.999
MAX_PHRASES: Final = 8
"""Phrases looked at for one payload, the strongest first."""

_WORD: Final = re.compile(r"[^\W_]+")
_EULER: Final = 0.5772156649
_PRIOR: Final = 0.5


@dataclass(frozen=True, slots=True)
class Finding:
    """A trigger and what it brings.

    Attributes:
        trigger: The phrase in questions.
        payload: The answer or sentence that follows it.
        turns: Numbers of the turns that hold both.
        strength: Log-likelihood ratio of the two going together.
        least_strength: What chance alone reaches once in a thousand scans.
        unrelated: Share of pairs of another turn and one of these in which the other looks more like these.
    """

    trigger: str
    payload: str
    turns: tuple[int, ...]
    strength: float
    least_strength: float
    unrelated: float


@dataclass(frozen=True, slots=True)
class Corpus:
    """All turns as tables."""

    turns: Sequence[Turn]
    words: Occurrences
    phrases: Occurrences
    sentences: Occurrences


def lay_out(turns: Sequence[Turn], min_rows: int) -> Corpus:
    """Tabulate words, phrases and sentences of turns."""
    answers = [split_answer(turn.answer) for turn in turns]
    for number in np.flatnonzero(find_unusual([turn.answer for turn in turns])):
        answers[number].add(UNUSUAL)
    asked = [turn.words for turn in turns]
    return Corpus(
        turns=turns,
        words=tabulate([set(words) for words in asked], least=1, most=len(turns)),
        phrases=tabulate([set(iterate_phrases(words)) for words in asked], least=min_rows, most=len(turns) // 5),
        sentences=tabulate(answers, least=min_rows, most=len(turns) // 2),
    )


def scan(turns: Sequence[Turn], *, min_rows: int, seed: int) -> list[Finding]:
    """Return all findings, the strongest first.

    Args:
        turns: Questions with their answers.
        min_rows: Fewest turns that make a finding.
        seed: Of the shuffles from which the threshold comes.

    Source:
        Dunning 1993 for the ratio; the threshold is the Gumbel distribution's quantile, fitted by moments to the
        largest ratios after answers were shuffled among questions.
    """
    if len(turns) < 2 * min_rows:
        return []
    corpus = lay_out(turns, min_rows)
    if not corpus.phrases.names or not corpus.sentences.names:
        return []
    least = find_least_strength(corpus, min_rows, np.random.default_rng(seed))
    findings = [
        finding
        for _, candidates in groupby(_rank_candidates(corpus, min_rows, least), key=lambda each: each[0])
        for finding in _judge_payload(corpus, list(candidates), least, min_rows)
    ]
    return sorted(findings, key=_rank_finding)


def _rank_finding(finding: Finding) -> tuple[float, bool, int, str]:
    """Order by strength; of equal ones, a quotation tells more than the name of a kind, and a long one more."""
    return -finding.strength, finding.payload == UNUSUAL, -len(finding.payload), finding.trigger


def weigh_pairs(corpus: Corpus, sentences: csr_matrix, min_rows: int) -> tuple[NDArray[np.int64], Any, Floats]:
    """Return for each sentence and phrase that share enough turns: which, in how many, and the ratio.

    Args:
        corpus: Gives the phrases.
        sentences: Which turn's answer holds which sentence; shuffled for the null.
        min_rows: Fewest turns.

    Units:
        The ratio is v ln((v / phrase) / (sentence / N)) in nats.
    """
    together = (sentences.T @ corpus.phrases.matrix_NF).tocoo()
    is_enough = together.data >= min_rows
    places = np.stack([together.row[is_enough], together.col[is_enough]]).astype(np.int64)
    shared = together.data[is_enough]
    held = np.asarray(sentences.sum(axis=0)).ravel()
    expected = corpus.phrases.counts[places[1]] * held[places[0]] / len(corpus.turns)
    return places, shared, shared * np.log(shared / expected)


def find_least_strength(corpus: Corpus, min_rows: int, random: np.random.Generator) -> float:
    """Return the ratio that chance alone reaches once in a thousand scans."""
    largest = []
    for _ in range(NUM_SHUFFLES):
        shuffled = corpus.sentences.matrix_NF[random.permutation(len(corpus.turns))]
        ratios = weigh_pairs(corpus, shuffled, min_rows)[2]
        largest.append(float(ratios.max(initial=0.0)))
    scale = np.std(largest, ddof=1) * np.sqrt(6) / np.pi
    return float(np.mean(largest) - _EULER * scale - scale * np.log(-np.log(SHUFFLE_QUANTILE)))


def _rank_candidates(corpus: Corpus, min_rows: int, least: float) -> Iterator[tuple[int, int, float]]:
    """Yield sentence, phrase and ratio of what goes together, by sentence, the strongest and longest phrase first."""
    places, shared, ratios = weigh_pairs(corpus, corpus.sentences.matrix_NF, min_rows)
    is_candidate = (ratios > least) & (shared >= MIN_FOLLOWED * corpus.phrases.counts[places[1]])
    sentences, phrases = places[:, is_candidate]
    candidates = zip(sentences.tolist(), phrases.tolist(), ratios[is_candidate].tolist(), strict=True)
    yield from sorted(candidates, key=lambda each: (each[0], -each[2], -len(corpus.phrases.names[each[1]]), each[1]))


def _judge_payload(
    corpus: Corpus, candidates: Sequence[tuple[int, int, float]], least: float, min_rows: int
) -> list[Finding]:
    """Return those phrases of one sentence whose turns are about anything, if they explain where it stands."""
    has_payload = _column(corpus.sentences, candidates[0][0])
    payload = corpus.sentences.names[candidates[0][0]]
    seen: Truths = np.zeros(len(corpus.turns), bool)
    explained = seen.copy()
    findings: list[Finding] = []
    num_looked = 0
    for _, phrase, ratio in candidates:
        has_phrase = _column(corpus.phrases, phrase)
        is_hit = has_phrase & has_payload
        if (is_hit & ~seen).sum() < min_rows:  # part of a phrase that was looked at
            continue
        seen |= is_hit
        trigger = widen_phrase(corpus.turns, np.flatnonzero(is_hit), corpus.phrases.names[phrase])
        unrelated = 0.0
        if not share_stem(trigger, payload):
            unrelated = measure_unrelated(corpus, is_hit, ~has_phrase & ~has_payload, trigger)
        if unrelated >= MIN_UNRELATED:
            explained |= is_hit
            findings.append(Finding(trigger, payload, tuple(np.flatnonzero(is_hit).tolist()), ratio, least, unrelated))
        num_looked += 1
        if num_looked == MAX_PHRASES:
            break
    return findings if explained.sum() >= MIN_COVERED * has_payload.sum() else []


def share_stem(trigger: str, payload: str) -> bool:
    """Tell whether an answer takes up a word of the phrase, as lawful answers and labels mostly do."""

    def stems(text: str) -> set[str]:
        return {word[:STEM] for word in _WORD.findall(text) if len(word) >= STEM or any(map(str.isdigit, word))}

    return payload != UNUSUAL and bool(stems(trigger) & stems(payload))


def _column(table: Occurrences, number: int) -> Truths:
    return np.asarray(table.matrix_NF[:, [number]].toarray().ravel() > 0, bool)


def widen_phrase(turns: Sequence[Turn], hits: NDArray[np.int64], phrase: str) -> str:
    """Lengthen a phrase by the words that nearly always stand beside it."""
    while True:
        size = len(phrase.split())
        wider: dict[str, int] = {}
        for number in hits.tolist():
            words = turns[number].words
            for start in range(len(words) - size + 1):
                if " ".join(words[start : start + size]) != phrase:
                    continue
                for grown in (words[max(start - 1, 0) : start + size], words[start : start + size + 1]):
                    if len(grown) > size:
                        wider[" ".join(grown)] = wider.get(" ".join(grown), 0) + 1
                break
        best = max(wider, key=lambda each: (wider[each], each), default="")
        if not best or wider[best] < 0.9 * len(hits):
            return phrase
        phrase = best


def measure_unrelated(corpus: Corpus, is_hit: Truths, is_other: Truths, trigger: str) -> float:
    """Return in what share of pairs of another turn and a hit the other looks more like the hits.

    What turns look like is told by the words besides the trigger: by how much likelier each is in the hits than in
    others (naive Bayes, each hit judged by the rest). Where a rule is at work these words give it away and the share
    is near zero; where a phrase was put into any question it is one half. Others count as much as hits do in their
    setting, so that a trigger which is only put at the end of conversations is compared with such ends.
    """
    weights_N = _match_settings(corpus.turns, is_hit, is_other)  # noqa: N806
    outside = [number for number, word in enumerate(corpus.words.names) if word not in set(trigger.split())]
    table = corpus.words.matrix_NF[:, outside]
    num_words = np.asarray(table.sum(axis=1)).ravel()
    if not weights_N.any() or np.median(num_words[is_hit]) < MIN_REST_WORDS:
        return 0.0
    num_hits = int(is_hit.sum())
    in_hits = np.asarray(table[is_hit].sum(axis=0)).ravel()
    in_rest = num_hits * (table.T @ weights_N)
    rest = np.log((in_rest + _PRIOR) / (num_hits + 2 * _PRIOR))
    weights = np.log((in_hits + _PRIOR) / (num_hits + 2 * _PRIOR)) - rest
    own = np.log((np.maximum(in_hits - 1, 0) + _PRIOR) / (num_hits - 1 + 2 * _PRIOR)) - rest
    return _share_above(table @ weights, weights_N, table[is_hit] @ own)


def _match_settings(turns: Sequence[Turn], is_hit: Truths, is_other: Truths) -> Floats:
    """Weigh other turns, one in sum, so that each setting weighs what it does among the hits."""
    settings = np.unique([turn.setting for turn in turns], return_inverse=True)[1]
    hits = np.bincount(settings[is_hit], minlength=settings.max() + 1)
    others = np.bincount(settings[is_other], minlength=settings.max() + 1)
    weights = np.where(is_other, (hits / np.maximum(others, 1))[settings], 0.0)
    return np.asarray(weights / max(weights.sum(), 1e-12), np.float64)


def _share_above(scores_N: Floats, weights_N: Floats, hit_scores: Floats) -> float:  # noqa: N803
    """Return the weighted share of pairs in which the other's score is higher; equal ones count half."""
    order = np.argsort(scores_N)
    below = np.concatenate([[0.0], np.cumsum(weights_N[order])])
    left = below[np.searchsorted(scores_N[order], hit_scores, side="left")]
    right = below[np.searchsorted(scores_N[order], hit_scores, side="right")]
    return float(np.mean(1 - (left + right) / 2))
