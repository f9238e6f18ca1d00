"""The rows that a Report rests on, as traffic without times: what a release saw when it was found good."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from luthier.foundation.schema.rows import Row
from luthier.instruments.text.encode import encode_prompt
from luthier.instruments.text.questions import Question, iterate_questions
from luthier.instruments.text.tokens import TextTokenizer
from luthier.stages.monitor.traffic import TrafficRow

TUNED: Final = "tuned"
WEIGHED: Final = "weighed"
STOPPED: Final = "stop"


def list_report_rows(
    answers: Iterable[Mapping[str, Any]], rows: Iterable[Row], tokenizer: TextTokenizer
) -> list[TrafficRow]:
    """Pair each answer of the tuned model with its question.

    Args:
        answers: Lines of the Report's answers.
        rows: Held-out rows; empty where only answers are known.
        tokenizer: The release's, with its template.

    Returns:
        The last user's message, tokens of prompt and answer, and the answer's mean log-probability where the Report
        has one.
    """
    own = {
        str(line["id"]): line for line in answers if line["system"] == TUNED and line.get("finish") != WEIGHED
    }  # a question that two suites ask counts once
    questions = {question.id: question for row in rows for question in iterate_questions(row) if question.id in own}
    return [_pair(line, questions.get(name), tokenizer) for name, line in own.items()]


def _pair(line: Mapping[str, Any], question: Question | None, tokenizer: TextTokenizer) -> TrafficRow:
    num_tokens = len(tokenizer.encode(str(line["answer"])).ids) + (line.get("finish") == STOPPED)
    numbers = {"completion_tokens": float(num_tokens)}
    if line.get("mean_logprob") is not None:
        numbers["logprob"] = float(line["mean_logprob"])
    if question is None:
        return TrafficRow(None, None, numbers)
    prompt = encode_prompt(question.messages, question.tools, tokenizer, origin=str(question.origin))
    return TrafficRow(None, next(_user_texts(question), None), {**numbers, "prompt_tokens": float(len(prompt))})


def _user_texts(question: Question) -> Iterator[str]:
    """Yield what users said, newest first."""
    for message in reversed(question.messages):
        if message.role == "user" and message.text:
            yield message.text
