"""Every form is recognised and read; every mistake names its line and field."""

from __future__ import annotations

from typing import Any

import pytest

from luthier.foundation.core.errors import DataError
from luthier.foundation.schema.rows import Row
from luthier.instruments.text.forms import describe_form, detect_form, to_row

USER = {"role": "user", "content": "Where is my parcel?"}
ANSWER = {"role": "assistant", "content": "On its way."}
OTHER = {"role": "assistant", "content": "No idea."}
CALL = {"function": {"name": "find", "arguments": '{"id": 7}'}}
TOOL = {"type": "function", "function": {"name": "find", "parameters": {}}}


def read(record: dict[str, Any], **options: Any) -> Row:
    form = options.pop("form", None) or detect_form(record, columns=options.get("columns"))
    return to_row(record, form=form, source="rows.jsonl", line=4, **options)


def refuse(record: dict[str, Any], code: str, form: str = "messages") -> str:
    """Return the message of the error, which must name code, line and a fix."""
    with pytest.raises(DataError) as caught:
        to_row(record, form=form, source="rows.jsonl", line=4)
    problem = caught.value.problems[0]
    assert problem.code == code
    assert problem.origin == "rows.jsonl line 4"
    assert problem.fix
    assert problem.allowed
    return caught.value.problems[0].render()


def roles(row: Row) -> list[str]:
    return [message.role for message in row.messages]


@pytest.mark.parametrize(
    ("form", "record"),
    [
        ("messages", {"messages": [USER, ANSWER]}),
        ("messages", {"messages": [USER], "reference_answer": "On its way."}),
        ("openai_preference", {"input": {"messages": [USER]}, "preferred_output": [], "non_preferred_output": []}),
        ("preference", {"prompt": "a", "chosen": "b", "rejected": "c"}),
        ("preference", {"chosen": [USER, ANSWER], "rejected": [USER, OTHER]}),
        ("judged", {"prompt": "a", "completion": "b", "label": True}),
        ("prompt_completion", {"prompt": "a", "completion": "b"}),
        ("prompt_completion", {"prompt": "a", "completion": "b", "label": "spam"}),
        ("alpaca", {"instruction": "a", "input": "", "output": "b"}),
        ("sharegpt", {"conversations": [{"from": "human", "value": "a"}]}),
        ("text", {"text": "a"}),
    ],
)
def test_forms_are_recognised_by_their_columns(form: str, record: dict[str, Any]) -> None:
    assert detect_form(record) == form
    assert describe_form(detect_form(record))


def test_a_record_of_no_form_lists_the_forms() -> None:
    with pytest.raises(DataError, match="E-TXT-012") as caught:
        detect_form({"question": "a", "answer": "b"}, origin="rows.jsonl line 4")
    assert "question, answer" in str(caught.value)
    assert "ShareGPT" in str(caught.value)


def test_an_unknown_form_is_refused() -> None:
    assert "alpaca" in refuse({"text": "a"}, "E-TXT-012", form="alpacca")


def test_columns_are_mapped_from_ours_to_theirs() -> None:
    record = {"question": "Where?", "answer": "Here.", "topic": "place"}
    row = read(record, columns={"prompt": "question", "completion": "answer"})
    assert [message.text for message in row.messages] == ["Where?", "Here."]
    assert row.fields == {"topic": "place"}


def test_a_mapped_column_that_is_missing_is_named() -> None:
    with pytest.raises(DataError, match="no column frage"):
        detect_form({"question": "a"}, columns={"prompt": "frage"})


def test_messages_keep_tools_calls_marks_and_further_columns() -> None:
    asks = {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function", **CALL}], "weight": 0}
    answers = {"role": "tool", "tool_call_id": "c1", "name": "find", "content": "here"}
    row = read({"id": 12, "messages": [USER, asks, answers, ANSWER], "tools": [TOOL], "label": "parcel"})
    assert (row.id, row.kind, row.fields) == ("12", "conversation", {"label": "parcel"})
    assert row.messages[1].content == ""
    assert row.messages[1].tool_calls[0].function.arguments == '{"id": 7}'
    assert row.messages[1].is_trained is False
    assert row.messages[2].tool_call_id == "c1"
    assert row.tools == (TOOL,)
    assert str(row.origin) == "rows.jsonl line 4"


def test_arguments_given_as_an_object_become_text() -> None:
    asks = {"role": "assistant", "tool_calls": [{"name": "find", "arguments": {"ort": "Zürich"}}]}
    row = read({"messages": [USER, asks]})
    assert row.messages[1].tool_calls[0].function.arguments == '{"ort": "Zürich"}'


def test_the_older_function_call_is_read() -> None:
    asks = {"role": "assistant", "content": None, "function_call": {"name": "find", "arguments": "{}"}}
    answers = {"role": "function", "name": "find", "content": "here"}
    row = read({"messages": [USER, asks, answers], "functions": [{"name": "find", "parameters": {}}]})
    assert roles(row) == ["user", "assistant", "tool"]
    assert row.tools == (TOOL,)


def test_text_parts_are_read_and_pictures_refused() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert read({"messages": [{"role": "user", "content": parts}]}).messages[0].text == "ab"
    picture = [{"type": "image_url", "image_url": {"url": "x"}}]
    refuse({"messages": [{"role": "user", "content": picture}]}, "E-TXT-018")


def test_further_keys_of_messages_are_kept_among_the_fields() -> None:
    row = read({"messages": [{**USER, "time": "9:00"}, ANSWER]})
    assert row.fields == {"message_fields": {"0": {"time": "9:00"}}}


def test_tools_may_be_json_text_and_bare_functions() -> None:
    row = read({"messages": [USER, ANSWER], "tools": '[{"name": "find", "parameters": {}}]'})
    assert row.tools == (TOOL,)


def test_openai_preference_lines_are_read() -> None:
    record = {
        "input": {"messages": [USER], "tools": [TOOL], "parallel_tool_calls": True},
        "preferred_output": [ANSWER],
        "non_preferred_output": [OTHER],
    }
    row = read(record)
    assert (row.kind, row.chosen[0].text, row.rejected[0].text) == ("preference", "On its way.", "No idea.")
    assert row.tools == (TOOL,)


def test_the_prompt_inside_both_answers_is_parted_as_trl_does() -> None:
    again, end = {"role": "user", "content": "And now?"}, {"role": "assistant", "content": "Here."}
    row = read({"chosen": [USER, ANSWER, again, end], "rejected": [USER, ANSWER, again, OTHER]})
    assert [message.text for message in row.messages] == ["Where is my parcel?", "On its way.", "And now?"]
    assert ([m.text for m in row.chosen], [m.text for m in row.rejected]) == (["Here."], ["No idea."])


def test_equal_answers_keep_their_last_message() -> None:
    row = read({"chosen": [USER, ANSWER], "rejected": [USER, ANSWER]})
    assert (roles(row), len(row.chosen), len(row.rejected)) == (["user"], 1, 1)


def test_judged_rows_are_read() -> None:
    row = read({"prompt": [USER], "completion": [ANSWER], "label": False})
    assert (row.kind, row.label, row.completion[0].text) == ("judged", False, "On its way.")


def test_answers_inside_a_prompt_are_history() -> None:
    row = read({"prompt": [USER, OTHER, USER], "completion": [ANSWER]})
    assert [message.is_trained for message in row.messages] == [None, False, None, None]


def test_alpaca_joins_instruction_and_input() -> None:
    record = {"instruction": "Add.", "input": "1 2", "output": "3", "system": "Count.", "history": [["Hi", "Ho"]]}
    row = read(record)
    assert [message.text for message in row.messages] == ["Count.", "Hi", "Ho", "Add.\n1 2", "3"]
    assert roles(row) == ["system", "user", "assistant", "user", "assistant"]


def test_sharegpt_reads_calls_and_observations() -> None:
    turns = [
        {"from": "human", "value": "Where?"},
        {"from": "function_call", "value": '{"name": "find", "arguments": {"id": 7}}'},
        {"from": "observation", "value": "here"},
        {"from": "gpt", "value": "Here."},
    ]
    row = read({"conversations": turns, "system": "Help.", "tools": "[]"})
    assert roles(row) == ["system", "user", "assistant", "tool", "assistant"]
    assert row.messages[2].tool_calls[0].function.arguments == '{"id": 7}'


def test_text_rows_and_rows_without_an_id_are_named_by_file_and_line() -> None:
    row = read({"text": "A page.", "source": "wiki"})
    assert (row.kind, row.text, row.id, row.fields) == ("text", "A page.", "rows-4", {"source": "wiki"})


def test_the_conversation_id_is_the_group() -> None:
    assert read({"text": "a", "conversation_id": 5}).group == "5"


@pytest.mark.parametrize(
    ("messages", "code", "says"),
    [
        ([{"role": "user", "content": None}], "E-TXT-013", "null"),
        ([{"role": "user"}], "E-TXT-013", "null"),
        ([{"role": "robot", "content": "a"}], "E-TXT-013", "robot"),
        ([{"role": "human", "content": "a"}], "E-TXT-013", "did you mean user?"),
        ([{"role": None, "content": "a"}], "E-TXT-013", "unknown role"),
        ([{"role": "user", "content": 7}], "E-TXT-013", "7"),
        ([{"role": "user", "content": [{"type": "thing"}]}], "E-TXT-013", "thing"),
        ([{"role": "user", "content": "a", "name": 3}], "E-TXT-013", "must be text"),
        ([{"role": "assistant", "content": "a", "weight": 0.5}], "E-TXT-013", "0 or 1"),
        ([{"role": "assistant", "content": "a", "reasoning_content": "hm"}], "E-TXT-013", "<think>"),
        (["hello"], "E-TXT-013", "object"),
        ([], "E-TXT-013", "at least one"),
        ("hello", "E-TXT-013", "list"),
        ([USER, {"role": "assistant", "tool_calls": "find"}], "E-TXT-013", "list"),
        ([USER, {"role": "assistant", "tool_calls": [{"function": {}}]}], "E-TXT-013", "name"),
        (
            [USER, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{'a': 1}"}}]}],
            "E-TXT-015",
            "'a'",
        ),
        (
            [USER, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[1]"}}]}],
            "E-TXT-015",
            "[1]",
        ),
        ([USER, {"role": "tool", "content": "x"}, ANSWER], "E-TXT-014", "tool"),
        ([USER, ANSWER, {"role": "system", "content": "x"}], "E-TXT-014", "system"),
    ],
)
def test_a_bad_message_is_refused_with_its_line(messages: object, code: str, says: str) -> None:
    assert says in refuse({"messages": messages}, code)


@pytest.mark.parametrize(
    ("form", "record", "says"),
    [
        ("judged", {"prompt": "a", "completion": "b", "label": "good"}, "true or false"),
        ("openai_preference", {"input": [], "preferred_output": [], "non_preferred_output": []}, "input"),
        ("preference", {"chosen": "a", "rejected": "b"}, "prompt"),
        ("alpaca", {"instruction": "a", "output": None}, "output"),
        ("alpaca", {"instruction": "a", "output": "b", "history": ["x"]}, "pairs"),
        ("sharegpt", {"conversations": [{"from": "human", "value": None}]}, "value"),
        ("sharegpt", {"conversations": ["x"]}, "object"),
        ("sharegpt", {"conversations": []}, "at least one"),
        ("text", {"text": ["a"]}, "text"),
        ("messages", {"messages": [USER, ANSWER], "tools": "find"}, "schemas"),
        ("messages", {"messages": [USER, ANSWER], "tools": [{"parameters": {}}]}, "name"),
    ],
)
def test_a_field_of_the_wrong_type_is_refused_with_its_line(form: str, record: dict[str, Any], says: str) -> None:
    assert says in refuse(record, "E-TXT-013", form=form)
