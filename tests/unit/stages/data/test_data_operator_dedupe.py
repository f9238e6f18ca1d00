"""One row of each cluster stays: the best, whatever the order of rows."""

import itertools

from luthier.foundation.schema.rows import Message, Row
from luthier.stages.data.operators.dedupe.config import Config
from luthier.stages.data.operators.dedupe.operator import PLUGIN
from luthier.stages.data.outcomes import Dropped, Kept
from tests.fixtures.data_rows import make_row


def _kept(rows: list[Row], match: str = "normalised") -> list[str]:
    outcomes = PLUGIN.apply(rows, Config.model_validate({"match": match}), {})
    return [outcome.row.id for outcome in outcomes if isinstance(outcome, Kept)]


def test_case_spacing_form_and_invisible_characters_do_not_make_a_row_new() -> None:
    rows = [
        make_row(text, name=text) for text in ("Hello  World", "hello world", "he\u200bllo\nworld", "\uff28ello world")
    ]
    assert len(_kept(rows)) == 1
    assert len(_kept(rows, "exact")) == 4


def test_answer_system_prompt_tools_and_calls_make_a_row_new() -> None:
    plain = make_row("q", "a", name="plain")
    others = [
        make_row("q", "b", name="answer"),
        make_row("q", "a", name="system", system="be brief"),
        plain.model_copy(update={"id": "tools", "tools": ({"function": {"name": "f"}},)}),
        plain.model_copy(update={"id": "longer", "messages": (*plain.messages, Message(role="user", content="q"))}),
        make_row("q!", "a", name="punctuation"),
    ]
    assert len(_kept([plain, *others])) == 6


def test_the_best_has_most_columns_in_any_order() -> None:
    rows = [
        make_row("q", name="bare"),
        make_row("Q  ", name="labelled", label="x"),
        make_row("q   ", name="blank", label=""),
    ]
    for order in itertools.permutations(rows):
        assert _kept(list(order)) == ["labelled"]


def test_a_dropped_row_names_the_one_that_was_kept() -> None:
    first, second = PLUGIN.apply([make_row("q", name="one"), make_row("q", name="two")], Config(), {})
    assert isinstance(first, Kept)
    assert isinstance(second, Dropped)
    assert second.detail == {"kept": "one", "kept_at": "rows.jsonl line 1", "cluster": 2}


def test_two_calls_share_no_memory() -> None:
    rows = [make_row("q", name="one")]
    assert _kept(rows) == _kept(rows) == ["one"]


def test_between_equal_columns_the_least_stray_space_wins_in_any_order() -> None:
    rows = [make_row("q  ", name="wide"), make_row("q", name="tidy"), make_row(" q\u200b", name="odd")]
    for order in itertools.permutations(rows):
        assert _kept(list(order)) == ["tidy"]
