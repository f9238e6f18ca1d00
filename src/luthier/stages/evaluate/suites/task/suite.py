"""Held-out rows as questions: each assistant turn after its true history."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np

from luthier.foundation import registry
from luthier.foundation.core.errors import EvalError
from luthier.foundation.schema.rows import Row
from luthier.foundation.schema.sections import PluginChoice
from luthier.instruments.measure.metric import Item, Metric
from luthier.instruments.text.encode import encode_prompt
from luthier.instruments.text.questions import Question, iterate_questions
from luthier.stages.evaluate.suite import Prompt, Source, draw, refuse_empty
from luthier.stages.evaluate.suites.task.config import Config
from luthier.stages.evaluate.told import find_allowed_answers, find_instruction, tell_answers
from luthier.stages.evaluate.training_rows import copy_answers, list_training_questions, pick_shots, show_shots

BASE: Final = "base"
TOLD: Final = "base_told"
FEW_SHOT: Final = "base_few_shot"
COPY: Final = "copy"
BASES: Final = frozenset({BASE, TOLD, FEW_SHOT})


@dataclass(frozen=True)
class Additions:
    """What systems get beside the question itself.

    Attributes:
        allowed: Answers that ``base_told`` is told.
        shots: Examples that ``base_few_shot`` is shown.
        copied: What ``copy`` answers, by question.
        left_out: Systems that are not asked, by question.
    """

    allowed: Sequence[str] = ()
    shots: Sequence[Question] = ()
    copied: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, frozenset[str]] = field(default_factory=dict)


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
        """Return the questions: the turns that a metric counts, or as many of these as are drawn.

        Raises:
            EvalError: E-EVA-001 for a question too long, E-EVA-002 where the base cannot be told the answers,
                E-EVA-004 for a set without questions, E-EVA-009 where no metric counts any, E-EVA-011 where there are
                no training rows to show or to copy.
        """
        names = _list_counted(config, source)
        drawn = draw(names, config.max_questions, seed=source.seed, name=str(config.name))
        asked = [(row, question) for row, question in _iterate_questions(config, source) if question.id in drawn]
        additions = _add(config, source, [question for _, question in asked])
        prompts, left_out = [], 0
        for row, question in asked:
            prompt = _put(row, question, source, additions)
            if _fits(prompt, question, config, source):
                prompts.append(prompt)
            else:
                left_out += 1
        if left_out:
            source.say(f"{left_out} questions of {config.on!r} leave no room for an answer and are left out")
        refuse_empty(prompts, on=config.on, needs="rows with an assistant's turn after a user's or a tool's")
        return prompts


def _iterate_questions(config: Config, source: Source) -> Iterator[tuple[Row, Question]]:
    return ((row, question) for row in source.rows(config.on) for question in iterate_questions(row))


def _add(config: Config, source: Source, asked: Sequence[Question]) -> Additions:
    instructions = {find_instruction(row) for row in source.rows(config.on)}
    allowed: tuple[str, ...] = ()
    if TOLD in source.systems:
        allowed = find_allowed_answers(source.rows("train"), instructions=instructions)
    training: tuple[Question, ...] = ()
    if {FEW_SHOT, COPY} & set(source.systems):
        training = list_training_questions(source.rows("train"), instructions=instructions)
    return Additions(
        allowed,
        pick_shots(training, seed=source.seed) if FEW_SHOT in source.systems else (),
        copy_answers(asked, training, source.tokenizer) if COPY in source.systems else {},
        _list_left_out(config, source, [question.id for question in asked]),
    )


def _list_left_out(config: Config, source: Source, names: Sequence[str]) -> dict[str, frozenset[str]]:
    """Return which questions the bases are spared; every question has somebody to answer it."""
    if config.base_questions is None or set(source.systems) <= BASES:
        return {}
    kept = draw(names, config.base_questions, seed=source.seed, name=f"{config.name}:base")
    return {name: BASES for name in names if name not in kept}


def _list_counted(config: Config, source: Source) -> list[str]:
    """Return the ids of the turns that at least one metric counts; the others would be asked for nothing."""
    scorers: list[tuple[Metric, Any]] = [
        (
            registry.load_runtime("metrics", choice.type),
            registry.load_config("metrics", choice.type).model_validate(choice.options),
        )
        for choice in config.metrics
    ]
    names, num_turns = [], 0
    for row, question in _iterate_questions(config, source):
        num_turns += 1
        item = Item(reference=question.reference, fields=row.fields)
        if any(metric.counts(item, options) for metric, options in scorers):
            names.append(question.id)
    if num_turns and not names:
        raise EvalError(
            "E-EVA-009",
            f"no metric of the suite {config.name!r} counts any of the {num_turns} turns of {config.on!r}",
            got=", ".join(f"{choice.type} {choice.options}" for choice in config.metrics),
            allowed="a metric that fits the rows",
            fix="luthier list metrics",
            field="evaluate.suites",
        )
    return names


def _put(row: Row, question: Question, source: Source, additions: Additions) -> Prompt:
    origin = str(question.origin)
    plain = encode_prompt(question.messages, question.tools, source.tokenizer, origin=origin)
    token_ids: dict[str, np.ndarray] = {"": plain}
    if TOLD in source.systems:
        told = tell_answers(question.messages, additions.allowed)
        token_ids[TOLD] = encode_prompt(told, question.tools, source.tokenizer, origin=origin)
    if FEW_SHOT in source.systems:
        shown = show_shots(question.messages, additions.shots)
        token_ids[FEW_SHOT] = encode_prompt(shown, question.tools, source.tokenizer, origin=origin)
    return Prompt(
        id=question.id,
        row_id=question.row_id,
        cluster=question.group,
        messages=question.messages,
        reference=question.reference,
        token_ids=token_ids,
        fields=row.fields,
        given={COPY: additions.copied[question.id]} if question.id in additions.copied else {},
        left_out=additions.left_out.get(question.id, frozenset()),
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
