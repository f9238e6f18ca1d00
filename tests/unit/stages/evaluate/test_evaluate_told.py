"""The base that is told the answers, and passages that one base samples once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from luthier.foundation.core.errors import EvalError
from luthier.foundation.schema.rows import FunctionCall, Message, Origin, Row, ToolCall
from luthier.stages.evaluate.passages import sample_once
from luthier.stages.evaluate.told import INSTRUCTION, MAX_ANSWERS, MAX_CHARACTERS, find_allowed_answers, tell_answers
from tests.fixtures.train_jobs import FolderContext


def make_row(*answers: str, number: int = 0) -> Row:
    messages: list[Message] = []
    for answer in answers:
        messages += [Message(role="user", content="which?"), Message(role="assistant", content=answer)]
    return Row(id=f"row-{number}", messages=tuple(messages), origin=Origin(file="rows.jsonl", line=number + 1))


def test_allowed_answers_are_each_once_in_order_of_the_alphabet_from_every_turn() -> None:
    rows = [make_row("refund", "card"), make_row(" refund\n"), make_row("balance")]

    assert find_allowed_answers(rows) == ("balance", "card", "refund")


def test_the_order_of_rows_does_not_move_the_prompt() -> None:
    rows = [make_row(word, number=number) for number, word in enumerate(("b", "a", "c"))]

    assert find_allowed_answers(rows) == find_allowed_answers(reversed(rows))


def test_rows_under_another_system_message_are_of_another_task_and_are_not_told() -> None:
    """Replayed general rows have long answers of their own; the labels are those under the questions' message."""
    rule = Message(role="system", content="Answer with a label.")
    labels = [make_row(word) for word in ("refund", "card")]
    labels = [row.model_copy(update={"messages": (rule, *row.messages)}) for row in labels]
    rows = [make_row("x" * 500), *labels]

    assert find_allowed_answers(rows, instructions={rule.text}) == ("card", "refund")
    with pytest.raises(EvalError, match="under the questions' system message"):
        find_allowed_answers(rows, instructions={"Answer with a number."})


@pytest.mark.parametrize(
    ("rows", "got"),
    [
        ([make_row(f"answer {n}") for n in range(MAX_ANSWERS + 1)], "more than 200 different answers"),
        ([make_row("x" * (MAX_CHARACTERS + 1))], "xxx"),
        ([make_row("  ")], "''"),
        ([], "no answers"),
        ([make_row()], "no answers"),
    ],
)
def test_answers_that_are_many_long_or_absent_cannot_be_told(rows: Sequence[Row], got: str) -> None:
    with pytest.raises(EvalError) as caught:
        find_allowed_answers(rows)

    (problem,) = caught.value.problems
    assert problem.code == "E-EVA-002"
    assert got in str(problem.got)
    assert (problem.fix, problem.field) == ("systems: [base, tuned]", "evaluate.systems")


def test_as_many_answers_as_may_be_told_are_told() -> None:
    words = [f"{'x' * (MAX_CHARACTERS - 3)}{number:03}" for number in range(MAX_ANSWERS)]

    assert find_allowed_answers(make_row(word) for word in reversed(words)) == tuple(words)


def test_a_tool_call_cannot_be_told() -> None:
    call = ToolCall(function=FunctionCall(name="find", arguments="{}"))
    answer = Message(role="assistant", content="", tool_calls=(call,))
    row = make_row("yes").model_copy(update={"messages": (Message(role="user", content="?"), answer)})

    with pytest.raises(EvalError, match="a tool call"):
        find_allowed_answers([row])


def test_answers_are_told_in_a_system_message_of_their_own_before_the_others() -> None:
    asked = (Message(role="user", content="which?"),)

    told = tell_answers(asked, ("card", "refund"))

    assert told == (Message(role="system", content=f"{INSTRUCTION}\n- card\n- refund"), *asked)


@pytest.mark.parametrize("role", ["system", "developer"])
def test_answers_follow_what_the_system_message_says(role: str) -> None:
    asked = (Message(role=role, content="Be brief."), Message(role="user", content="which?"))

    told = tell_answers(asked, ("card",))

    assert told[0] == Message(role=role, content=f"Be brief.\n\n{INSTRUCTION}\n- card")
    assert told[1:] == asked[1:]
    assert asked[0].content == "Be brief.", "what was asked stays as it was"


# Passages.


@dataclass
class Sampler:
    """Counts how often the base had to write; each time it writes something else."""

    calls: list[tuple[int, int]] = field(default_factory=list)

    def __call__(self, count: int, num_tokens: int) -> list[list[int]]:
        self.calls.append((count, num_tokens))
        return [[len(self.calls), number] for number in range(count)]


@dataclass
class Listener:
    """Progress that remembers what was said."""

    said: list[str] = field(default_factory=list)

    def say(self, sentence: str) -> None:
        self.said.append(sentence)


BASE: dict[str, str | int] = {"weights": "ab" * 32, "precision": "fp32"}


@pytest.fixture
def ctx(tmp_path: Path) -> FolderContext:
    folder = tmp_path / "runs" / "first"
    folder.mkdir(parents=True)
    return FolderContext(folder=folder)


def test_a_second_evaluation_of_one_base_reads_what_the_first_sampled(ctx: FolderContext) -> None:
    sampler = Sampler()
    first = sample_once(ctx, BASE, sampler, 3, 16)
    other = ctx.folder.parent / "second"
    other.mkdir()

    again = sample_once(replace(ctx, folder=other), BASE, sampler, 3, 16)

    assert again == first == [[1, 0], [1, 1], [1, 2]]
    assert sampler.calls == [(3, 16)]


@pytest.mark.parametrize(
    ("what", "count", "num_tokens", "seed"),
    [
        ({**BASE, "weights": "cd" * 32}, 3, 16, 0),
        ({**BASE, "precision": "bf16"}, 3, 16, 0),
        (BASE, 4, 16, 0),
        (BASE, 3, 17, 0),
        (BASE, 3, 16, 1),
    ],
)
def test_another_base_size_or_seed_has_passages_of_its_own(
    ctx: FolderContext, what: dict[str, str | int], count: int, num_tokens: int, seed: int
) -> None:
    sampler = Sampler()
    first = sample_once(ctx, BASE, sampler, 3, 16)

    second = sample_once(replace(ctx, seed=seed), what, sampler, count, num_tokens)

    assert len(sampler.calls) == 2
    assert second != first
    assert sample_once(ctx, BASE, sampler, 3, 16) == first, "and the first's stay"


@pytest.mark.parametrize("damage", ["flip", "cut", "list", "empty", "no digest"])
def test_damaged_passages_are_named_and_sampled_again(ctx: FolderContext, damage: str) -> None:
    sampler = Sampler()
    sample_once(ctx, BASE, sampler, 3, 16)
    (path,) = ctx.folder.parent.glob("passages-*.json")
    stored = json.loads(path.read_text())
    damaged = {
        "flip": json.dumps(stored | {"passages": [[9, 9]]}),
        "cut": path.read_text()[:-5],
        "list": "[1, 2]",
        "empty": "",
        "no digest": json.dumps({"passages": stored["passages"]}),
    }
    path.write_text(damaged[damage])
    listener = Listener()

    again = sample_once(replace(ctx, progress=listener), BASE, sampler, 3, 16)

    assert again == [[2, 0], [2, 1], [2, 2]]
    assert listener.said[0] == f"{path.name} is damaged; the passages are sampled again"
    assert sample_once(ctx, BASE, sampler, 3, 16) == again, "what was mended is kept"
