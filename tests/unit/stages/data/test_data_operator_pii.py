"""Redaction by typed placeholders: JSON stays JSON, equal values stay equal, the ledger holds no value."""

import json

import pytest

from luthier.foundation.schema.rows import Message, Row
from luthier.foundation.schema.sections import PluginChoice
from luthier.stages.data.operators.pii.config import Config
from luthier.stages.data.operators.pii.operator import PLUGIN
from luthier.stages.data.outcomes import Changed, Dropped, Flagged, Kept
from luthier.stages.data.pipeline import apply_operators, resolve_operators
from tests.fixtures.data_rows import make_row

MAIL = "anna.berg@firma.de"
OTHER = "b.cole@firma.de"


def test_equal_values_get_equal_placeholders_within_a_row() -> None:
    row = make_row(f"write to {MAIL} and {OTHER}", f"I wrote to {OTHER}, then {MAIL}.")
    [outcome] = PLUGIN.apply([row], Config(), {})
    assert isinstance(outcome, Changed)
    assert outcome.row.messages[0].text == "write to <EMAIL_1> and <EMAIL_2>"
    assert outcome.row.messages[1].text == "I wrote to <EMAIL_2>, then <EMAIL_1>."
    assert (outcome.reasons, outcome.detail) == (("email",), {"counts": {"email": 4}})


def test_arguments_of_calls_stay_json_even_where_a_number_is_redacted() -> None:
    arguments = json.dumps({"card": 4111111111111111, "to": MAIL, "n": 3, "ok": True})
    call = {"function": {"name": "pay", "arguments": arguments}}
    row = Row(
        id="r",
        messages=(
            Message(role="user", content="pay"),
            Message.model_validate({"role": "assistant", "tool_calls": [call]}),
        ),
    )
    [outcome] = PLUGIN.apply([row], Config(), {})
    redacted = json.loads(outcome.row.messages[1].tool_calls[0].function.arguments)
    assert redacted == {"card": "<CREDIT_CARD_1>", "to": "<EMAIL_1>", "n": 3, "ok": True}


def test_further_columns_are_redacted_and_clean_rows_come_back_as_they_are() -> None:
    dirty, clean = make_row("hi", owner=MAIL, amount=12.5), make_row("hi", amount=12.5, ok=True)
    first, second = PLUGIN.apply([dirty, clean], Config(), {})
    assert first.row.fields == {"owner": "<EMAIL_1>", "amount": 12.5}
    assert second == Kept(clean)
    assert second.row is clean


@pytest.mark.parametrize(("action", "kind"), [("drop", Dropped), ("flag", Flagged)])
def test_drop_and_flag_leave_the_text_alone(action: str, kind: type) -> None:
    row = make_row(f"I am {MAIL}")
    [outcome] = PLUGIN.apply([row], Config.model_validate({"action": action}), {})
    assert isinstance(outcome, kind)
    assert outcome.row is row
    assert MAIL not in str(outcome.detail)


def test_only_the_kinds_that_are_asked_for_are_looked_for() -> None:
    [outcome] = PLUGIN.apply([make_row(f"{MAIL} 10.20.30.40")], Config(kinds=("ip_address",)), {})
    assert outcome.row.messages[0].text == f"{MAIL} <IP_ADDRESS_1>"


def test_the_ledger_of_no_operator_keeps_what_is_redacted() -> None:
    rows = [
        make_row(f"a\u200b {MAIL}", name="one"),
        make_row(f"x {MAIL}", name="two"),
        make_row(f"x {MAIL}", name="three"),
    ]
    steps = resolve_operators([PluginChoice(type=name) for name in ("unicode", "dedupe", "pii")])
    cleaned = apply_operators(rows, steps, {})
    assert {entry.operator for entry in cleaned.entries} == {"unicode", "dedupe", "pii"}
    assert MAIL not in "".join(entry.model_dump_json() for entry in cleaned.entries)
    assert MAIL not in "".join(row.model_dump_json() for row in cleaned.rows)
