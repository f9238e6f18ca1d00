"""Which prompts a server is asked, and how scores are compared: by hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from luthier.foundation.schema.rows import FunctionCall, Message, Row, ToolCall
from luthier.instruments.text.tokens import load_tokenizer
from luthier.instruments.text.tool_calls import name_calls
from luthier.stages.deploy.comparison import Contract, compare_scores
from luthier.stages.deploy.probes import LiveProbe
from luthier.stages.deploy.served import pick_prompts
from tests.fixtures.tiny_models import write_tiny_tokenizer

USER, ANSWER = Message(role="user", content="where is my card"), Message(role="assistant", content="card")


def make_probe(name: str, *messages: Message, **fields: object) -> LiveProbe:
    nothing = np.zeros(0)
    return LiveProbe(Row(id=name, messages=messages, **fields), nothing, nothing, nothing, nothing)


def test_only_conversations_that_end_in_a_question_are_asked_and_the_last_answer_is_left_out(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(write_tiny_tokenizer(tmp_path))
    probes = [
        make_probe("plain", USER, ANSWER),
        make_probe("two turns", USER, ANSWER, USER, ANSWER),
        make_probe("a greeting", ANSWER),
        make_probe("two answers", USER, ANSWER, ANSWER),
        make_probe("a text", kind="text", text="card"),
        make_probe("a pair", USER, kind="preference", chosen=(ANSWER,), rejected=(USER,)),
    ]

    found = {prompt.id: len(prompt.messages) for prompt in pick_prompts(probes, tokenizer)}

    assert found == {"plain": 1, "two turns": 3, "a pair": 1}


def test_all_prompts_are_asked_while_they_are_short_and_else_some_spread_over_all(tmp_path: Path) -> None:
    """A prompt and its answer are ``len + 24`` tokens; sixteen are asked whatever they hold."""
    tokenizer = load_tokenizer(write_tiny_tokenizer(tmp_path))
    probes = [make_probe(str(number), USER, ANSWER) for number in range(100)]
    length = len(pick_prompts(probes[:1], tokenizer)[0].ids_T) + 24

    assert len(pick_prompts(probes, tokenizer, max_tokens=100 * length)) == 100
    assert len(pick_prompts(probes, tokenizer)) == 4_096 // length < 100
    fifth = pick_prompts(probes, tokenizer, max_tokens=20 * length)
    assert [prompt.id for prompt in fifth] == [str(number) for number in range(0, 100, 5)]
    assert len(pick_prompts(probes, tokenizer, max_tokens=20 * length - 1)) == 19
    assert len(pick_prompts(probes, tokenizer, max_tokens=1)) == 16
    assert len(pick_prompts(probes[:9], tokenizer, max_tokens=1)) == 9
    assert pick_prompts([], tokenizer) == []


def test_calls_without_a_name_get_one_and_their_results_the_same() -> None:
    call = ToolCall(function=FunctionCall(name="find", arguments="{}"))
    named = ToolCall(id="own", function=FunctionCall(name="find", arguments="{}"))
    result = Message(role="tool", content="here")
    messages = (
        USER,
        Message(role="assistant", tool_calls=(call, named)),
        result,
        result,
        Message(role="assistant", tool_calls=(call,)),
        Message(role="tool", content="there", tool_call_id="given"),
    )

    found = name_calls(messages)

    assert [one.id for one in found[1].tool_calls] == ["call_1", "own"]
    assert [found[2].tool_call_id, found[3].tool_call_id] == ["call_1", "own"]
    assert (found[4].tool_calls[0].id, found[5].tool_call_id) == ("call_2", "given")
    assert found[0] is USER


@dataclass
class Scores:
    logps_M: np.ndarray
    best_ids_M: np.ndarray
    gaps_M: np.ndarray


def score(logps: list[float], best: list[int], gaps: list[float]) -> Scores:
    return Scores(np.array(logps), np.array(best), np.array(gaps))


def test_a_comparison_by_hand() -> None:
    """Differences 0.25, 0, 0.5 over two rows; three of four places are decided, at one of them the best differs."""
    first = [score([-1.0, -2.0], [1, 2], [1.0, 0.0]), score([-3.0, -4.0], [3, 4], [1.0, 1.0])]
    second = [score([-1.25, -2.0], [1, 9], [0.0, 0.0]), score([-3.5, -4.0], [3, 5], [0.0, 0.0])]

    found = compare_scores(first, second, names=["a", "b"], contract=Contract(max_delta=1.0, min_gap=0.5))

    assert (found.num_rows, found.num_tokens, found.max_delta, found.worst) == (2, 4, 0.5, "b")
    assert found.mean_delta == pytest.approx(0.75 / 4)
    assert (found.num_decided, found.num_agreeing) == (3, 2)
    assert "1 of 3 places" in found.find_breach(Contract(max_delta=1.0, min_gap=0.5))
    assert "0.5 nats, worst in b" in found.find_breach(Contract(max_delta=0.4))


def test_a_tie_that_falls_the_other_way_is_no_breach_and_nothing_compared_is_none() -> None:
    near = [score([-1.0], [1], [1e-4])]
    assert compare_scores(near, [score([-1.0], [2], [0.0])], names=["a"]).find_breach(Contract()) == ""
    assert compare_scores([], [], names=[]).find_breach(Contract()) == ""


def test_scores_of_another_number_of_tokens_are_not_compared() -> None:
    with pytest.raises(ValueError, match="broadcast"):
        compare_scores([score([-1.0, -1.0], [1, 1], [1, 1])], [score([-1.0] * 3, [1] * 3, [1] * 3)], names=["a"])
