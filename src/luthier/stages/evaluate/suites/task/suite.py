"""Held-out rows as questions: each assistant turn after its true history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np

from luthier.foundation.core.errors import EvalError
from luthier.foundation.schema.rows import Row
from luthier.foundation.schema.sections import PluginChoice
from luthier.instruments.text.encode import encode_prompt
from luthier.instruments.text.questions import Question, iterate_questions
from luthier.stages.evaluate.suite import Prompt, Source, draw, refuse_empty
from luthier.stages.evaluate.suites.task.config import Config
from luthier.stages.evaluate.told import find_allowed_answers, tell_answers

TOLD: Final = "base_told"


class TaskSuite:
    """Asks and scores."""

    kind: Literal["answers", "likelihood"] = "answers"

    def systems(self, asked: Sequence[str]) -> tuple[str, ...]:
        """Compare all systems of the recipe."""
        return tuple(asked)

    def metrics(self, config: Config) -> tuple[PluginChoice, ...]:
        """Return the configured metrics."""
        return config.metrics

    def max_new_tokens(self, config: Config) -> int:
        """Return the configured bound."""
        return config.max_new_tokens

    def gather(self, config: Config, source: Source) -> list[Prompt]:
        """Return the questions.

        Raises:
            EvalError: E-EVA-001 for a question too long, E-EVA-002 where the base cannot be told the answers,
                E-EVA-004 for a set without questions.
        """
        rows = list(source.rows(config.on))
        questions = [(row, question) for row in rows for question in iterate_questions(row)]
        drawn = draw([q.id for _, q in questions], config.max_questions, seed=source.seed, name=str(config.name))
        allowed = find_allowed_answers(source.rows("train")) if TOLD in source.systems else ()
        prompts, left_out = [], 0
        for row, question in questions:
            if question.id not in drawn:
                continue
            prompt = _put(row, question, source, allowed)
            if _fits(prompt, question, config, source):
                prompts.append(prompt)
            else:
                left_out += 1
        if left_out:
            source.say(f"{left_out} questions of {config.on!r} leave no room for an answer and are left out")
        refuse_empty(prompts, on=config.on, needs="rows with an assistant's turn after a user's or a tool's")
        return prompts


def _put(row: Row, question: Question, source: Source, allowed: Sequence[str]) -> Prompt:
    origin = str(question.origin)
    plain = encode_prompt(question.messages, question.tools, source.tokenizer, origin=origin)
    token_ids: dict[str, np.ndarray] = {"": plain}
    if TOLD in source.systems:
        told = tell_answers(question.messages, allowed)
        token_ids[TOLD] = encode_prompt(told, question.tools, source.tokenizer, origin=origin)
    return Prompt(
        id=question.id,
        row_id=question.row_id,
        cluster=question.group,
        messages=question.messages,
        reference=question.reference,
        token_ids=token_ids,
        fields=row.fields,
    )


def _fits(prompt: Prompt, question: Question, config: Config, source: Source) -> bool:
    longest = max(len(ids) for ids in prompt.token_ids.values())
    if longest + config.max_new_tokens <= source.max_positions:
        return True
    if config.too_long == "drop":
        return False
    raise EvalError(
        "E-EVA-001",
        f"the question {question.id!r} leaves no room for its answer",
        got=f"{longest} tokens, answer of up to {config.max_new_tokens}",
        origin=str(question.origin),
        allowed=f"question and answer within the base's {source.max_positions} positions",
        fix=f"{{type: task, on: {config.on}, too_long: drop}}",
        field="evaluate.suites",
    )


PLUGIN = TaskSuite()
