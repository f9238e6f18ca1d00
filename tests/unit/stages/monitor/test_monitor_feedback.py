"""Feedback: what is taken, what is refused and why, and what it becomes when it is accepted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.foundation.core.errors import DataError
from luthier.foundation.schema.feedback import Feedback
from luthier.foundation.schema.telemetry import KnownResponse
from luthier.instruments.text.forms import detect_form, to_row
from luthier.instruments.text.privacy import find_private
from luthier.stages.monitor.feedback import MAX_COMMENT, MAX_MESSAGES, MAX_TEXT, build_feedback, read_form
from luthier.stages.monitor.feedback_rows import to_rows
from luthier.stages.monitor.telemetry_log import TrafficLog, read_response
from tests.fixtures.requests_seen import RELEASE, make_content, make_facts

ASKED = [{"role": "user", "content": "what of my card"}]
BARE = KnownResponse(response_id="r1", model="desk", release=RELEASE)
KEPT = BARE.model_copy(update={"messages": tuple(ASKED), "answers": ("loan",), "has_content": True})
TIME = "2026-03-02T00:00:00.000+00:00"


def take(known: KnownResponse | None = BARE, **said: Any) -> Feedback:
    return build_feedback(read_form({"response_id": "r1", **said}), known, time=TIME)


def refuse(known: KnownResponse | None = BARE, **said: Any) -> Any:
    with pytest.raises(DataError) as caught:
        take(known, **said)
    problem = caught.value.problems[0]
    assert problem.fix
    assert problem.got
    return problem


@pytest.mark.parametrize("rating", ["up", "down", "1", 1, 5])
def test_a_rating_needs_no_content(rating: object) -> None:
    piece = take(rating=rating)
    assert (piece.kind, piece.rating, piece.release, piece.state) == ("rating", str(rating), RELEASE, "new")
    assert piece.payload.messages == ()


def test_a_correction_brings_its_conversation_or_finds_it_kept() -> None:
    sent = take(correction="card", messages=ASKED)
    kept = take(KEPT, correction="card")
    assert sent.payload == kept.payload
    assert sent.kind == "correction"
    assert sent.id == kept.id, "the same said of the same answer is the same feedback"
    assert take(KEPT, correction="cards").id != kept.id


def test_a_preference_is_against_what_was_answered_unless_it_says_otherwise() -> None:
    assert take(KEPT, preferred="card").payload.rejected == "loan"
    assert take(KEPT, preferred="card", rejected="cash").payload.rejected == "cash"
    assert take(preferred="card", rejected="cash", messages=ASKED).kind == "preference"


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"correction": "card"}, "messages"),
        ({"preferred": "card", "rejected": "cash"}, "messages"),
        ({"preferred": "card", "messages": ASKED}, "rejected"),
    ],
)
def test_without_content_a_correction_is_refused_with_both_ways_out(said: dict[str, Any], field: str) -> None:
    problem = refuse(**said)
    assert (problem.code, problem.field) == ("E-MON-022", field)
    assert "--keep-content" in problem.fix
    assert f"`{field}`" in problem.fix


def test_of_several_answers_the_rejected_one_is_not_guessed() -> None:
    several = KEPT.model_copy(update={"answers": ("loan", "cash")})
    assert refuse(several, preferred="card").code == "E-MON-022"


def test_an_unknown_response_is_refused() -> None:
    problem = refuse(None, rating="up")
    assert (problem.code, problem.got, problem.field) == ("E-MON-021", "r1", "response_id")


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({}, ""),
        ({"rating": "great"}, "rating"),
        ({"rating": 0}, "rating"),
        ({"rating": True}, "rating"),
        ({"rating": 4.5}, "rating"),
        ({"rating": "up", "user": "ann"}, ""),
        ({"response_id": "../../etc/passwd", "rating": "up"}, "response_id"),
        ({"response_id": 7, "rating": "up"}, "response_id"),
        ({"correction": " "}, "correction"),
        ({"correction": ["card"]}, "correction"),
        ({"correction": "x" * (MAX_TEXT + 1)}, "correction"),
        ({"comment": "x" * (MAX_COMMENT + 1)}, "comment"),
        ({"correction": "card", "preferred": "card", "messages": ASKED}, "preferred"),
        ({"rejected": "card", "rating": "up"}, "rejected"),
        ({"preferred": "card", "rejected": "card", "messages": ASKED}, "preferred"),
        ({"correction": "card", "messages": ASKED * (MAX_MESSAGES + 1)}, "messages"),
        ({"correction": "card", "messages": [*ASKED, {"role": "assistant", "content": "loan"}]}, "messages"),
        ({"comment": "half a pair \ud800"}, ""),
        ({"correction": "card", "messages": [{"role": "user", "content": "x" * 1_000_001}]}, ""),
    ],
)
def test_what_is_no_feedback_is_refused_with_what_would_be(said: dict[str, Any], field: str) -> None:
    problem = refuse(**said)
    assert (problem.code, problem.field) == ("E-MON-020", field)
    assert problem.allowed
    assert problem.render().encode(), "it can be printed"


@pytest.mark.parametrize(
    "messages", ["hi", [], [{"role": "wizard", "content": "x"}], [{"role": "tool", "content": "x"}], [7]]
)
def test_messages_that_are_none_are_refused_as_rows_of_a_file_are(messages: object) -> None:
    assert refuse(correction="card", messages=messages).code.startswith("E-TXT-01")


def test_everything_that_is_stored_is_redacted_and_fits_together() -> None:
    asked = [{"role": "user", "content": "mail ann@nordbank.com"}]
    piece = take(
        preferred="Sent to ann@nordbank.com.",
        rejected="Sent to bob@nordbank.com.",
        comment="key sk-proj-AbCdEfGhIjKlMnOpQrStUvWxYz0123456789AbCdEfGh",
        messages=asked,
    )
    assert find_private(piece.model_dump_json()) == ()
    assert piece.payload.messages[0]["content"] == "mail <EMAIL_1>"
    assert piece.payload.preferred == "Sent to <EMAIL_1>."
    assert piece.payload.rejected == "Sent to <EMAIL_2>."


def test_tools_come_with_the_conversation() -> None:
    tool = {"type": "function", "function": {"name": "find", "parameters": {"type": "object", "properties": {}}}}
    piece = take(correction="card", messages=ASKED, tools=[tool])
    (row,) = to_rows([piece.model_copy(update={"state": "accepted"})], "correction")
    assert row["tools"] == [tool]
    assert refuse(correction="card", messages=ASKED, tools=["find"]).code == "E-TXT-013"


# Rows.


def accept(*pieces: Feedback) -> list[Feedback]:
    return [piece.model_copy(update={"state": "accepted"}) for piece in pieces]


def test_accepted_corrections_are_rows_of_form_messages_that_train_the_correction_alone() -> None:
    asked = [*ASKED, {"role": "assistant", "content": "which card?"}, {"role": "user", "content": "the blue one"}]
    pieces = accept(take(correction="card", messages=asked))
    (record,) = to_rows(pieces, "correction")

    assert detect_form(record) == "messages"
    row = to_row(json.loads(json.dumps(record)), form="messages", source="corrections.jsonl", line=1)
    assert [message.text for message in row.messages] == ["what of my card", "which card?", "the blue one", "card"]
    trained = [message.is_trained for message in row.messages if message.role == "assistant"]
    assert trained == [False, None], "an earlier answer was reviewed by nobody"
    assert row.id == pieces[0].id


def test_accepted_preferences_are_rows_of_form_preference() -> None:
    (record,) = to_rows(accept(take(KEPT, preferred="card")), "preference")

    assert detect_form(record) == "preference"
    row = to_row(record, form="preference", source="preferences.jsonl", line=1)
    assert (row.kind, row.chosen[0].text, row.rejected[0].text) == ("preference", "card", "loan")
    assert [message.text for message in row.messages] == ["what of my card"]


def test_only_accepted_feedback_of_the_kind_becomes_rows_and_the_newest_word_on_an_answer_counts() -> None:
    old, new = take(KEPT, correction="cash"), take(KEPT, correction="card")
    rejected = take(KEPT, correction="sea").model_copy(update={"state": "rejected"})
    other = take(KEPT, preferred="card")
    rows = to_rows([*accept(old, new, other), rejected, take(KEPT, rating="up")], "correction")

    assert [row["messages"][-1]["content"] for row in rows] == ["card"]


def test_feedback_on_one_conversation_shares_a_group() -> None:
    first = take(KEPT, correction="card")
    second = first.model_copy(update={"response_id": "r2", "id": "fb-2"})
    groups = {row["group"] for row in to_rows(accept(first, second), "correction")}
    assert len(groups) == 1


def test_what_the_traffic_log_kept_becomes_a_row_with_calls_and_their_answers(tmp_path: Path) -> None:
    log = TrafficLog(tmp_path)
    log.write(make_facts(content=make_content()))
    line = log.find("chatcmpl-0")
    assert line is not None
    form = read_form({"response_id": "chatcmpl-0", "correction": "I wrote to bob@nordbank.com and to nobody else."})
    (record,) = to_rows(accept(build_feedback(form, read_response(line), time=TIME)), "correction")

    row = to_row(record, form="messages")
    assert row.messages[2].tool_calls[0].function.name == "find"
    assert find_private(json.dumps(record)) == ()
