"""Rows that hold what an evaluation set asks are dropped, and those that only sound alike are not."""

import pytest

from luthier.foundation.schema.rows import Message, Row
from luthier.stages.data.operators.decontaminate.config import Config
from luthier.stages.data.operators.decontaminate.operator import PLUGIN
from luthier.stages.data.outcomes import Dropped, Kept, Outcome
from tests.fixtures.data_rows import make_row

QUESTION = "how do I move my old savings account to the new bank"
LONG = " ".join(f"word{number}" for number in range(40))
HELD_OUT = {"dev": [make_row(QUESTION, "transfer", name="d1", system="Classify."), make_row(LONG, "x", name="d2")]}


def _judge(row: Row, **options: float) -> Outcome:
    [outcome] = PLUGIN.apply([row], Config.model_validate(options), HELD_OUT)
    return outcome


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (make_row(QUESTION, "transfer", system="Another prompt."), "same_row"),
        (make_row(QUESTION.upper() + "?!", "transfer"), "same_row"),
        (make_row(QUESTION, "another label"), "same_question"),
        (make_row(f"Good morning! {QUESTION}, please?", "transfer"), "quoted_question"),
        (make_row("what was I asked?", f"You were asked: {QUESTION}"), "quoted_question"),
        (make_row(" ".join(LONG.split()[5:])), "shared_ngrams"),
        (Row(id="t", kind="text", text=f"a book that prints {QUESTION} in it"), "quoted_question"),
    ],
)
def test_each_way_to_leak_has_its_reason(row: Row, reason: str) -> None:
    outcome = _judge(row)
    assert isinstance(outcome, Dropped)
    assert outcome.reasons == (reason,)
    assert outcome.detail["set"] == "dev"


@pytest.mark.parametrize(
    "row",
    [
        make_row("how do I move my old savings account", "transfer"),
        make_row("something else", QUESTION.replace("savings", "current")),
        make_row(" ".join(LONG.split()[:20])),
        make_row("anything", system=QUESTION),
    ],
)
def test_what_only_sounds_alike_or_stands_in_the_system_prompt_stays(row: Row) -> None:
    assert _judge(row) == Kept(row)


def test_the_share_of_ngrams_is_counted_over_the_evaluation_row() -> None:
    """40 words hold 28 distinct 13-grams; the last 33 of them hold 21: a share of 0.75."""
    outcome = _judge(make_row(" ".join(LONG.split()[7:])))
    assert outcome.detail == {"set": "dev", "row": "d2", "share": 0.75}
    assert isinstance(_judge(make_row(" ".join(LONG.split()[7:])), overlap=0.8), Kept)


def test_a_stock_phrase_at_the_end_of_a_dialogue_is_no_leak() -> None:
    thanks = "thank you very much you have been very helpful that will be all for now"
    turns = ("book a table", thanks)
    messages = tuple(
        message
        for turn in turns
        for message in (Message(role="user", content=turn), Message(role="assistant", content="ok"))
    )
    row = make_row(thanks, "bye")
    [outcome] = PLUGIN.apply([row], Config(), {"dev": [Row(id="d", messages=messages)]})
    assert outcome == Kept(row)


def test_without_evaluation_sets_every_row_stays() -> None:
    row = make_row(QUESTION)
    assert list(PLUGIN.apply([row], Config(), {})) == [Kept(row)]
