"""The fixed probes: as many as promised, varied, and rows that every room can use."""

import json

from luthier.examples.probes import load_probes
from luthier.instruments.text.forms import detect_form, to_row
from luthier.stages.data.operators.empty.operator import find_emptiness
from luthier.stages.data.operators.unicode.cleaning import Cleaning, clean_text
from luthier.stages.data.texts import content_key, iterate_messages


def test_two_hundred_probes_differ_in_id_and_content() -> None:
    probes = load_probes()
    assert len(probes) == len({probe.id for probe in probes}) == len({content_key(probe) for probe in probes}) == 200


def test_every_probe_ends_in_an_answer_and_says_something() -> None:
    for probe in load_probes():
        assert probe.messages[-1].role == "assistant"
        assert find_emptiness(probe) == ("", None)


def test_calls_name_listed_tools_with_json_arguments_and_are_answered() -> None:
    num_calls = 0
    for probe in load_probes():
        names = {tool["function"]["name"] for tool in probe.tools}
        calls = [call for message in probe.messages for call in message.tool_calls]
        answered = [message.tool_call_id for message in probe.messages if message.role == "tool"]
        assert [call.id for call in calls] == answered
        assert {call.function.name for call in calls} <= names
        assert all(isinstance(json.loads(call.function.arguments), dict) for call in calls)
        num_calls += len(calls)
    assert num_calls > 20


def test_the_probes_are_varied() -> None:
    probes = load_probes()
    assert sum(probe.messages[0].role == "system" for probe in probes) > 30
    assert sum(len(probe.messages) > 3 for probe in probes) > 25
    assert sum(not message.text.isascii() for probe in probes for message in probe.messages) > 40


def test_no_probe_holds_a_hidden_character_and_all_are_rows_of_the_messages_form() -> None:
    for probe in load_probes():
        found = Cleaning()
        for message in iterate_messages(probe):
            clean_text(message.text, found, fix_lookalikes=True)
        assert not found.counts, probe.id
        record = json.loads(probe.model_dump_json(include={"messages", "tools"}, exclude_defaults=True))
        assert detect_form(record) == "messages"
        assert to_row(record, form="messages").messages == probe.messages
