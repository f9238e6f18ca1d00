"""Rows that say nothing are dropped with the reason; conversations that nobody answers are refused."""

import pytest

from luthier.foundation.schema.rows import Message, Part, Row, ToolCall
from luthier.stages.data.operators.empty.config import Config
from luthier.stages.data.operators.empty.operator import PLUGIN, find_emptiness
from luthier.stages.data.outcomes import Changed, Dropped, Refused
from tests.fixtures.data_rows import make_row

USER = Message(role="user", content="q")
ANSWER = Message(role="assistant", content="a")
CALL = Message(role="assistant", tool_calls=(ToolCall.model_validate({"function": {"name": "f", "arguments": "{}"}}),))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (Row(id="r"), "no_messages"),
        (Row(id="r", messages=(USER, Message(role="assistant", content=" \n"))), "blank_assistant"),
        (Row(id="r", messages=(Message(role="user"), ANSWER)), "blank_user"),
        (Row(id="r", kind="text", text="  "), "no_text"),
        (Row(id="r", kind="preference", messages=(USER,), chosen=(ANSWER,)), "no_continuation"),
        (Row(id="r", kind="judged", messages=(USER,), completion=(Message(role="assistant"),)), "blank_assistant"),
    ],
)
def test_each_way_to_say_nothing_has_its_reason(row: Row, reason: str) -> None:
    [outcome] = PLUGIN.apply([row], Config(), {})
    assert isinstance(outcome, Dropped)
    assert outcome.reasons == (reason,)


@pytest.mark.parametrize(
    "row",
    [
        make_row("q"),
        Row(id="r", messages=(USER, CALL)),
        Row(id="r", messages=(Message(role="user", content=(Part(type="image", blob="0" * 64),)), ANSWER)),
        Row(id="r", messages=(Message(role="system"), USER, ANSWER)),
        Row(id="r", kind="text", text="t"),
        Row(id="r", kind="preference", messages=(USER,), chosen=(ANSWER,), rejected=(ANSWER,)),
    ],
)
def test_calls_images_and_blank_system_prompts_are_something(row: Row) -> None:
    assert find_emptiness(row) == ("", None)


def test_an_unanswered_conversation_is_refused_trimmed_or_dropped() -> None:
    row = make_row("q").model_copy(update={"messages": (USER, ANSWER, USER, USER)})
    [refused] = PLUGIN.apply([row], Config(), {})
    assert isinstance(refused, Refused)
    [trimmed] = PLUGIN.apply([row], Config(unanswered="trim"), {})
    assert isinstance(trimmed, Changed)
    assert (trimmed.row.messages, trimmed.detail) == ((USER, ANSWER), {"role": "user", "removed": 2})
    [dropped] = PLUGIN.apply([row], Config(unanswered="drop"), {})
    assert isinstance(dropped, Dropped)


def test_nothing_is_left_to_trim_where_nobody_ever_answered() -> None:
    [outcome] = PLUGIN.apply([make_row("q").model_copy(update={"messages": (USER,)})], Config(unanswered="trim"), {})
    assert isinstance(outcome, Dropped)
