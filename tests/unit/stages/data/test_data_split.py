"""Nothing that belongs together is torn apart, and sizes come close to what was asked."""

import random

import pytest

from luthier.foundation.core.errors import DataError
from luthier.foundation.schema.rows import Message, Row
from luthier.foundation.schema.sections import Split
from luthier.stages.data.split import assign_groups, find_components, split_rows
from tests.fixtures.data_rows import make_row


def _place(rows: list[Row], split: Split, seed: int = 0) -> dict[str, str]:
    return {row.id: name for name, part in split_rows(rows, split, seed).items() for row in part}


def test_sizes_are_the_fractions_where_every_row_stands_alone() -> None:
    rows = [make_row(f"q{number}") for number in range(1000)]
    parted = split_rows(rows, Split(validation=0.1, test=0.15), seed=1)
    assert {name: len(part) for name, part in parted.items()} == {"train": 750, "validation": 100, "test": 150}


def test_the_order_of_rows_and_their_ids_do_not_matter() -> None:
    rows = [make_row(f"q{number}", name=f"q{number}") for number in range(200)]
    shuffled = list(rows)
    random.Random(5).shuffle(shuffled)  # noqa: S311  a test's shuffle
    assert _place(rows, Split()) == _place(shuffled, Split())
    renamed = [row.model_copy(update={"id": f"new-{row.id}"}) for row in rows]
    assert {f"new-{row}": name for row, name in _place(rows, Split()).items()} == _place(renamed, Split())


def test_another_seed_gives_another_split() -> None:
    rows = [make_row(f"q{number}") for number in range(200)]
    assert _place(rows, Split(), seed=0) != _place(rows, Split(), seed=1)


def test_each_split_keeps_the_order_in_which_rows_were_read() -> None:
    rows = [make_row(f"q{number:03}", name=f"{number:03}") for number in range(100)]
    for part in split_rows(rows, Split(), seed=0).values():
        assert [row.id for row in part] == sorted(row.id for row in part)


def test_groups_and_duplicates_chain_into_one_component() -> None:
    """Rows a and b share a group, b and c their words, c and d a group: the four stay together, e stands alone."""
    rows = [
        make_row("one", name="a").model_copy(update={"group": "x"}),
        make_row("two", name="b").model_copy(update={"group": "x"}),
        make_row("TWO ", name="c", system="another prompt").model_copy(update={"group": "y"}),
        make_row("four", name="d").model_copy(update={"group": "y"}),
        make_row("five", name="e"),
    ]
    assert sorted(map(sorted, find_components(rows))) == [[0, 1, 2, 3], [4]]


def test_preference_pairs_of_one_prompt_stay_together() -> None:
    def pair(question: str, chosen: str) -> Row:
        return Row(
            id=f"{question}{chosen}",
            kind="preference",
            messages=(Message(role="user", content=question),),
            chosen=(Message(role="assistant", content=chosen),),
            rejected=(Message(role="assistant", content="no"),),
        )

    rows = [pair("p", "1"), pair("q", "1"), pair("P", "2")]
    assert sorted(map(sorted, find_components(rows))) == [[0, 2], [1]]


def test_a_group_larger_than_a_split_goes_to_train() -> None:
    big = [make_row(f"big{number}").model_copy(update={"group": "big"}) for number in range(80)]
    small = [make_row(f"small{number}") for number in range(20)]
    parted = split_rows(big + small, Split(validation=0.1, test=0.05), seed=0)
    assert {name: len(part) for name, part in parted.items()} == {"train": 85, "validation": 10, "test": 5}
    assert all(row in parted["train"] for row in big)


def test_a_fraction_of_zero_gives_no_rows_and_no_error() -> None:
    parted = split_rows([make_row("only")], Split(validation=0, test=0), seed=0)
    assert {name: len(part) for name, part in parted.items()} == {"train": 1, "validation": 0, "test": 0}


def test_a_small_set_still_gives_every_split_a_row() -> None:
    parted = split_rows([make_row(f"q{number}") for number in range(3)], Split(), seed=0)
    assert {name: len(part) for name, part in parted.items()} == {"train": 1, "validation": 1, "test": 1}


def test_a_column_becomes_the_group_without_its_value() -> None:
    rows = [make_row("a", customer="anna@firma.de"), make_row("b", customer="anna@firma.de"), make_row("c", customer=7)]
    first, second, third = assign_groups(rows, "customer")
    assert first.group == second.group != third.group
    assert "anna" not in first.group


def test_the_column_that_forms_read_as_group_can_be_named_too() -> None:
    rows = [make_row(text).model_copy(update={"group": "c-1"}) for text in ("a", "b")]
    first, second = assign_groups(rows, "conversation_id")
    assert first.group == second.group != ""


def test_conversation_leaves_the_group_as_it_was_read() -> None:
    row = make_row("a").model_copy(update={"group": "c-1"})
    assert assign_groups([row], "conversation") == [row]


def test_the_error_of_an_empty_split_names_groups_and_field() -> None:
    rows = [make_row(f"q{number}").model_copy(update={"group": "x"}) for number in range(9)]
    with pytest.raises(DataError) as caught:
        split_rows(rows, Split(by="customer"), seed=0)
    [problem] = caught.value.problems
    assert (problem.code, problem.field) == ("E-DAT-012", "data.split.validation")
    assert "9 rows in 1 groups" in problem.got
