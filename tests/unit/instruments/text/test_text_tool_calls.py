"""Tool calls read back as they were written, and tool templates that leave a base's own text alone."""

from __future__ import annotations

import pytest

from luthier.foundation.core.errors import ModelError
from luthier.foundation.schema.rows import FunctionCall, Message, Row, ToolCall
from luthier.instruments.text.encode import encode_row
from luthier.instruments.text.templates import ChatTemplate
from luthier.instruments.text.tool_calls import canonical_call, find_call_style, parse_tool_calls
from luthier.instruments.text.tool_templates import choose_tool_template
from tests.fixtures.text_tokenizers import CHATML, call, make_tokenizer, talk

TOOL = {
    "type": "function",
    "function": {"name": "find", "parameters": {"type": "object", "properties": {"id": {"type": "integer"}}}},
}
DEFAULT = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are \"Nell\".<|im_end|>\n{% endif %}" + CHATML
)


def make(source: str) -> ChatTemplate:
    return ChatTemplate(source, bos_token="<s>", eos_token="<|im_end|>")  # noqa: S106


def made(name: str, arguments: str) -> ToolCall:
    return ToolCall(function=FunctionCall(name=name, arguments=arguments))


def test_calls_and_content_are_parted() -> None:
    text = 'Let me look.\n<tool_call>\n{"name": "find", "arguments": {"id": 7}}\n</tool_call>'
    content, calls = parse_tool_calls(text)
    assert content == "Let me look."
    assert [canonical_call(found) for found in calls] == [canonical_call(made("find", '{"id": 7}'))]


def test_several_calls_keep_their_order() -> None:
    text = '<tool_call>{"name": "a", "arguments": {}}</tool_call>\n<tool_call>{"name": "b"}</tool_call>'
    content, calls = parse_tool_calls(text)
    assert (content, [found.function.name for found in calls]) == ("", ["a", "b"])


@pytest.mark.parametrize(
    "text",
    [
        "No call here.",
        "<tool_call>not json</tool_call>",
        '<tool_call>{"arguments": {}}</tool_call>',
        '<tool_call>{"name": "a", "arguments": [1]}</tool_call>',
        '<tool_call>{"name": "a"',
        "",
    ],
)
def test_what_is_no_call_stays_in_the_content(text: str) -> None:
    assert parse_tool_calls(text) == (text, ())


def test_other_styles_are_read() -> None:
    content, calls = parse_tool_calls('{"name": "find", "parameters": {"id": 7}}', "llama")
    assert (content, canonical_call(calls[0])) == ("", canonical_call(made("find", '{"id": 7}')))
    assert parse_tool_calls("Hello", "llama") == ("Hello", ())
    assert parse_tool_calls("<tool_call>{}</tool_call>", "none") == ("<tool_call>{}</tool_call>", ())


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        ('{"a": 1, "b": [true, null]}', '{ "b":[true,null], "a":1 }', True),
        ('{"a": 3}', '{"a": 3.0}', True),
        ('{"a": "é"}', '{"a": "\\u00e9"}', True),
        ("", "{}", True),
        ('{"a": 1}', '{"a": "1"}', False),
        ('{"a": true}', '{"a": 1}', False),
        ('{"a": [1, 2]}', '{"a": [2, 1]}', False),
        ("{broken", "{broken", True),
        ("{broken", "{}", False),
        ('{"a": 123456789012345678901234567890}', '{"a": 123456789012345678901234567891}', False),
        ('{"a": NaN}', '{"a": NaN}', True),
    ],
)
def test_calls_are_compared_whatever_their_spelling(left: str, right: str, equal: bool) -> None:
    assert (canonical_call(made("f", left)) == canonical_call(made("f", right))) is equal
    assert canonical_call(made("f", left)) != canonical_call(made("g", left))


def test_chatml_without_tools_gets_a_tool_template_that_keeps_its_text() -> None:
    base = make(DEFAULT)
    name, source = choose_tool_template(base)
    assert name == "chatml_tools"
    extended = base.with_source(source)
    assert extended.writes_tools
    assert not extended.mixes_results
    assert find_call_style(extended) == "hermes"
    for messages in (talk("A?", "B."), talk("A?", "", "C?", " D.\n"), talk("A?", "B.", system='"Be" brief\n')):
        assert extended.render_text(messages) == base.render_text(messages)
        asked = messages[:-1]
        assert extended.render_text(asked, add_generation_prompt=True) == base.render_text(
            asked, add_generation_prompt=True
        )


def test_the_tool_template_writes_schemas_calls_and_results() -> None:
    """The whole text, written out by hand."""
    extended = make(choose_tool_template(make(CHATML))[1])
    results = (Message(role="tool", content="r1"), Message(role="tool", content="r2"))
    messages = (
        *talk("Where?", system="Help."),
        call("find", '{"id": 7}', "Let me see."),
        *results,
        *talk("x", "Here.")[1:],
    )
    assert extended.render_text(messages, (TOOL,)) == (
        "<|im_start|>system\nHelp.\n\nYou can call these tools. Each line is the schema of one tool:\n<tools>\n"
        '{"type": "function", "function": {"name": "find", "parameters": '
        '{"type": "object", "properties": {"id": {"type": "integer"}}}}}\n'
        "</tools>\nTo call a tool, answer with its name and arguments as JSON, one call in each pair of tags:\n"
        '<tool_call>\n{"name": "tool name", "arguments": {}}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\nWhere?<|im_end|>\n"
        '<|im_start|>assistant\nLet me see.\n<tool_call>\n{"name": "find", "arguments": {"id": 7}}\n</tool_call>'
        "<|im_end|>\n"
        "<|im_start|>user\n<tool_response>\nr1\n</tool_response>\n<tool_response>\nr2\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\nHere.<|im_end|>\n"
    )


def test_calls_are_trained_and_results_are_not() -> None:
    tokenizer = make_tokenizer(choose_tool_template(make(CHATML))[1])
    result = Message(role="tool", content="found it")
    row = Row(
        id="r", messages=(*talk("Where?"), call("find", '{"id": 7}'), result, *talk("x", "Here.")[1:]), tools=(TOOL,)
    )
    encoded = encode_row(row, tokenizer)
    assert tokenizer.decode(encoded.token_ids_T[encoded.weights_T > 0]) == (
        '<tool_call>\n{"name": "find", "arguments": {"id": 7}}\n</tool_call><|im_end|>Here.<|im_end|>'
    )


def test_a_base_with_tools_of_its_own_keeps_its_template() -> None:
    source = choose_tool_template(make(CHATML))[1]
    assert choose_tool_template(make(source)) == ("own", source)


@pytest.mark.parametrize(
    "source",
    [
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}",
        CHATML.replace("'\n' + message['content']", "'\n' + message['content'] | trim"),
        "<s>" + CHATML,
        "{{ raise_exception('no') }}",
    ],
)
def test_a_base_that_is_not_chatml_is_left_as_it_is(source: str) -> None:
    assert choose_tool_template(make(source)) == ("none", source)
    with pytest.raises(ModelError, match="E-TXT-017"):
        choose_tool_template(make(source), "chatml_tools")


def test_names_can_be_given_and_unknown_ones_are_refused() -> None:
    assert choose_tool_template(make(CHATML), "own") == ("own", CHATML)
    assert choose_tool_template(make(CHATML), "none") == ("none", CHATML)
    assert choose_tool_template(make(CHATML), "chatml_tools")[0] == "chatml_tools"
    with pytest.raises(ModelError, match="E-TXT-017") as caught:
        choose_tool_template(make(CHATML), "xml")
    assert "chatml_tools" in caught.value.problems[0].allowed
    assert caught.value.problems[0].fix
