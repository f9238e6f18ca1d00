"""Which turns are asked: those that a metric counts, and of these as many as are drawn, by seed and not by order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from luthier.foundation.core.errors import EvalError
from luthier.foundation.schema.rows import FunctionCall, Message, Origin, Row, ToolCall
from luthier.instruments.text.tokens import TextTokenizer
from luthier.stages.evaluate.suite import Prompt, Source
from luthier.stages.evaluate.suites.task.config import Config
from luthier.stages.evaluate.suites.task.suite import PLUGIN
from tests.fixtures.text_tokenizers import make_tokenizer

CALLS_ONLY = {"type": "tool_call", "questions": "calls"}


def make_rows(count: int) -> list[Row]:
    """Make conversations of five answers, of which the third calls a tool."""
    call = ToolCall(function=FunctionCall(name="find", arguments='{"city": "Ulm"}'))
    rows = []
    for number in range(count):
        messages: list[Message] = []
        for turn in range(5):
            messages.append(Message(role="user", content=f"question {turn}"))
            messages.append(Message(role="assistant", content="yes", tool_calls=(call,) if turn == 2 else ()))
        rows.append(Row(id=f"row-{number}", messages=tuple(messages), origin=Origin(file="rows.jsonl", line=number)))
    return rows


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return make_tokenizer()


def gather(rows: Sequence[Row], tokenizer: TextTokenizer, *, seed: int = 0, **options: Any) -> list[Prompt]:
    def read(_: str) -> Iterator[Row]:
        return iter(rows)

    source = Source(
        rows=read,
        sample=lambda *_: [],
        tokenizer=tokenizer,
        systems=("base", "tuned"),
        max_positions=4096,
        seed=seed,
        say=lambda _: None,
    )
    return PLUGIN.gather(Config(name="task", **options), source)


def test_twelve_questions_of_a_metric_of_calls_are_twelve_calls(tokenizer: TextTokenizer) -> None:
    asked = gather(make_rows(20), tokenizer, metrics=[CALLS_ONLY], max_questions=12)
    assert len(asked) == 12
    assert all(prompt.reference.tool_calls for prompt in asked)


def test_without_a_bound_every_turn_that_counts_is_asked_and_no_other(tokenizer: TextTokenizer) -> None:
    assert [prompt.id for prompt in gather(make_rows(3), tokenizer, metrics=[CALLS_ONLY])] == [
        "row-0#2",
        "row-1#2",
        "row-2#2",
    ]


@pytest.mark.parametrize("metrics", [["tool_call"], [CALLS_ONLY, "exact_match"]])
def test_a_turn_is_asked_where_any_metric_counts_it(metrics: list[Any], tokenizer: TextTokenizer) -> None:
    assert len(gather(make_rows(3), tokenizer, metrics=metrics)) == 15


def test_the_draw_depends_on_the_seed_and_not_on_the_order_of_rows(tokenizer: TextTokenizer) -> None:
    rows = make_rows(20)
    drawn = [
        {prompt.id for prompt in gather(given, tokenizer, seed=seed, metrics=[CALLS_ONLY], max_questions=7)}
        for given, seed in ((rows, 0), (rows[::-1], 0), (rows, 1))
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_rows_of_which_no_metric_counts_a_turn_are_refused_before_anything_is_asked(tokenizer: TextTokenizer) -> None:
    silent = [row.model_copy(update={"messages": row.messages[:2]}) for row in make_rows(2)]
    with pytest.raises(EvalError) as caught:
        gather(silent, tokenizer, metrics=[CALLS_ONLY], on="dev")
    (problem,) = caught.value.problems
    assert (problem.code, problem.field) == ("E-EVA-009", "evaluate.suites")
    assert "any of the 2 turns of 'dev'" in str(caught.value)
    assert "calls" in problem.got
    assert problem.allowed
    assert problem.fix == "luthier list metrics"
