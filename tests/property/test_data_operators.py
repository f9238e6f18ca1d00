"""Laws of operators and of the split, for any rows."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.foundation.core.errors import DataError
from luthier.foundation.registry import get_rows, load_runtime
from luthier.foundation.schema.rows import Message, Row
from luthier.foundation.schema.sections import PluginChoice, Split
from luthier.stages.data.outcomes import Dropped, Kept, Outcome
from luthier.stages.data.pipeline import Step, apply_operators, resolve_operators, run_step
from luthier.stages.data.split import find_components, split_rows
from luthier.stages.data.texts import content_key

TEXTS = st.sampled_from(
    [
        "a",
        "A ",
        "b",
        "",
        " ",
        "a\u200b",
        "mail me: x.y@firma.de",
        "one two three four five six seven",
        "\u00e9",
        "e\u0301",
    ]
) | st.text(max_size=12)
MESSAGES = st.builds(Message, role=st.sampled_from(["system", "user", "assistant"]), content=TEXTS)


@st.composite
def row_lists(draw: st.DrawFn) -> list[Row]:
    bodies = draw(st.lists(st.lists(MESSAGES, min_size=1, max_size=3), max_size=12))
    groups = draw(st.lists(st.sampled_from(["", "", "g", "h"]), min_size=len(bodies), max_size=len(bodies)))
    return [
        Row(id=f"r{number}", messages=tuple(body), group=group)
        for number, (body, group) in enumerate(zip(bodies, groups, strict=True))
    ]


def _options(name: str) -> dict[str, str]:
    return {"empty": {"unanswered": "drop"}}.get(name, {})


def _steps(*names: str) -> tuple[Step, ...]:
    return resolve_operators([PluginChoice(type=name, options=_options(name)) for name in names])


BUILT_IN = sorted(get_rows("operators"))


@pytest.mark.parametrize("name", BUILT_IN)
@given(rows=row_lists(), held_out=row_lists())
@settings(max_examples=40)
def test_an_operator_answers_for_every_row_once_and_says_why(name: str, rows: list[Row], held_out: list[Row]) -> None:
    [step] = _steps(name)
    outcomes = list(run_step(rows, step, {"dev": held_out}))
    assert [outcome.row.id for outcome in outcomes] == [row.id for row in rows]
    assert all(isinstance(outcome, Kept) or outcome.reasons for outcome in outcomes)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", BUILT_IN)
@given(rows=row_lists(), held_out=row_lists())
@settings(max_examples=40)
def test_an_operator_finds_nothing_more_to_do_on_its_own_output(
    name: str, rows: list[Row], held_out: list[Row]
) -> None:
    [step] = _steps(name)
    once = apply_operators(rows, [step], {"dev": held_out})
    twice = apply_operators(once.rows, [step], {"dev": held_out})
    assert list(twice.rows) == list(once.rows)
    assert not twice.entries


@pytest.mark.parametrize("name", ["unicode", "empty", "pii", "decontaminate"])
@given(rows=row_lists(), held_out=row_lists(), cut=st.integers(0, 12))
@settings(max_examples=30)
def test_operators_that_judge_row_by_row_do_not_see_batches(
    name: str, rows: list[Row], held_out: list[Row], cut: int
) -> None:
    [step] = _steps(name)
    apart = [*run_step(rows[:cut], step, {"dev": held_out}), *run_step(rows[cut:], step, {"dev": held_out})]
    assert apart == list(run_step(rows, step, {"dev": held_out}))


@given(rows=row_lists())
def test_dedupe_leaves_one_of_each_content_in_any_order(rows: list[Row]) -> None:
    steps = _steps("dedupe")
    forwards = apply_operators(rows, steps, {}).rows
    backwards = apply_operators(rows[::-1], steps, {}).rows
    assert {content_key(row) for row in rows} == {content_key(row) for row in forwards}
    assert len(forwards) == len({content_key(row) for row in forwards})
    exact = [Counter(content_key(row, exact=True) for row in kept) for kept in (forwards, backwards)]
    assert exact[0] == exact[1]


@given(rows=row_lists(), held_out=row_lists())
@settings(max_examples=50)
def test_no_row_vanishes_without_a_line_in_the_ledger(rows: list[Row], held_out: list[Row]) -> None:
    cleaned = apply_operators(rows, _steps("unicode", "empty", "pii", "dedupe", "decontaminate"), {"dev": held_out})
    dropped = [entry.row for entry in cleaned.entries if entry.action == "dropped"]
    assert sorted([row.id for row in cleaned.rows] + dropped) == sorted(row.id for row in rows)
    assert all(step.rows_in == step.rows_out + step.dropped for step in cleaned.waterfall)
    changed = {entry.row for entry in cleaned.entries if entry.action == "changed"}
    before = {row.id: row for row in rows}
    assert all(row == before[row.id] or row.id in changed for row in cleaned.rows)


@given(rows=row_lists(), seed=st.integers(0, 5), validation=st.floats(0, 0.4), test=st.floats(0, 0.4))
def test_the_split_is_a_partition_that_tears_nothing_apart(
    rows: list[Row], seed: int, validation: float, test: float
) -> None:
    try:
        parted = split_rows(rows, Split(validation=validation, test=test), seed)
    except DataError as error:
        assert error.code == "E-DAT-012"  # noqa: PT017  an empty split is a lawful answer
        return
    assert sorted(row.id for part in parted.values() for row in part) == sorted(row.id for row in rows)
    place = {row.id: name for name, part in parted.items() for row in part}
    for members in find_components(rows):
        assert len({place[rows[index].id] for index in members}) == 1
    for one in rows:
        for other in rows:
            if one.group and one.group == other.group:
                assert place[one.id] == place[other.id]


@given(rows=row_lists(), seed=st.integers(0, 5), order=st.randoms())
def test_the_split_does_not_see_the_order_of_rows(rows: list[Row], seed: int, order: object) -> None:
    shuffled = list(rows)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    split = Split(validation=0.2, test=0.2)
    try:
        here, there = split_rows(rows, split, seed), split_rows(shuffled, split, seed)
    except DataError:
        return
    for name, part in here.items():
        assert Counter(row.id for row in part) == Counter(row.id for row in there[name])


@pytest.mark.parametrize(
    ("answer", "num_outcomes"),
    [
        (lambda outcomes: [one for one in outcomes if not isinstance(one, Dropped)], 0),  # loses what it drops
        (lambda outcomes: outcomes[::-1], 2),
        (lambda outcomes: [*outcomes, outcomes[-1]], 3),
        (lambda outcomes: outcomes[:1], 1),
    ],
)
def test_an_operator_that_does_not_answer_for_each_row_in_order_is_caught(
    answer: Callable[[list[Outcome]], list[Outcome]], num_outcomes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The law's own test: refused with E-DAT-018 and both counts. Both rows say nothing and are dropped."""
    rows = [Row(id="a", messages=(Message(role="user", content="x"),)), Row(id="b")]
    operator = type(load_runtime("operators", "empty"))
    original = operator.apply

    def unfaithful(*arguments: Any) -> Iterator[Outcome]:
        return iter(answer(list(original(*arguments))))

    monkeypatch.setattr(operator, "apply", unfaithful)
    with pytest.raises(DataError) as caught:
        apply_operators(rows, _steps("empty"), {})
    assert caught.value.code == "E-DAT-018"
    assert "the operator empty" in str(caught.value)
    assert f"{num_outcomes} outcomes for 2 rows" in str(caught.value)
