"""Laws of spans and masks over arbitrary contents: none may depend on what people write."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.foundation.schema.rows import FunctionCall, Message, Row, ToolCall
from luthier.instruments.text.encode import encode_row, weigh_tokens
from luthier.instruments.text.questions import iterate_questions
from luthier.instruments.text.show import mask_row
from luthier.instruments.text.templates import ChatTemplate
from luthier.instruments.text.tokens import TokenizedText
from luthier.instruments.text.tool_calls import canonical_call, parse_tool_calls, render_tool_calls
from luthier.instruments.text.tool_templates import choose_tool_template
from tests.fixtures.text_tokenizers import CHATML, SPECIAL_TOKENS, make_tokenizer

CHARACTERS = st.characters(codec="utf-8", exclude_categories=("Cs",))
TEXTS = st.text(CHARACTERS, max_size=30).filter(lambda text: not any(token in text for token in SPECIAL_TOKENS))
CONTENTS = TEXTS | st.sampled_from(["", " ", "\n", "assistant\n", "\ufdd0m1.0\ufdd1", "</tool_call>", "😀" * 3])
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
ARGUMENTS = st.dictionaries(TEXTS, JSON_VALUES, max_size=3).map(lambda value: json.dumps(value, ensure_ascii=False))
CALLS = st.lists(
    st.builds(
        lambda name, arguments: ToolCall(function=FunctionCall(name=name, arguments=arguments)),
        st.text("abcdefgh_", min_size=1, max_size=8),
        ARGUMENTS,
    ),
    min_size=1,
    max_size=3,
)
TOOLS_TEMPLATE = choose_tool_template(ChatTemplate(CHATML, eos_token="<|im_end|>"))[1]  # noqa: S106
TOKENIZER = make_tokenizer(TOOLS_TEMPLATE)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Message, ...]:
    """Return turns in a sound order; answers may call tools, whose results follow."""
    messages = [Message(role="system", content=draw(CONTENTS))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        messages.append(Message(role="user", content=draw(CONTENTS)))
        if draw(st.booleans()):
            calls = tuple(draw(CALLS))
            messages.append(Message(role="assistant", content=draw(CONTENTS), tool_calls=calls))
            messages += [Message(role="tool", content=draw(CONTENTS)) for _ in calls]
        messages.append(Message(role="assistant", content=draw(CONTENTS)))
    return tuple(messages)


def write_answer(message: Message) -> str:
    """Return what the model writes for a message, independently of the template: content, calls, end of turn."""
    calls = [
        f'<tool_call>\n{{"name": "{call.function.name}", "arguments": {call.function.arguments}}}\n</tool_call>'
        for call in message.tool_calls
    ]
    return "\n".join(([message.text] if message.text else []) + calls) + "<|im_end|>"


@given(messages=conversations())
@settings(deadline=None)
def test_spans_cover_exactly_what_the_assistant_writes(messages: tuple[Message, ...]) -> None:
    template = TOKENIZER.chat_template
    assert template is not None
    rendered = template.render(messages)
    written = [rendered.text[turn.start : turn.end] for turn in rendered.turns]
    assert written == [write_answer(message) for message in messages if message.role == "assistant"]


@given(messages=conversations())
@settings(deadline=None)
def test_regions_lie_in_order_and_never_overlap(messages: tuple[Message, ...]) -> None:
    template = TOKENIZER.chat_template
    assert template is not None
    rendered = template.render(messages)
    regions = [region for index in sorted(rendered.regions) for region in rendered.regions[index]]
    assert all(left[1] <= right[0] for left, right in pairwise(regions))


@given(messages=conversations(), train_on=st.sampled_from(["assistant", "last"]))
@settings(deadline=None)
def test_the_trained_tokens_say_the_trained_answers(messages: tuple[Message, ...], train_on: str) -> None:
    """Special tokens bound every answer on both sides or lie in it, so no token straddles a span's end."""
    encoded = encode_row(Row(id="r", messages=messages), TOKENIZER, train_on=train_on)  # type: ignore[arg-type]
    answers = [write_answer(message) for message in messages if message.role == "assistant"]
    wanted = answers if train_on == "assistant" else answers[-1:]
    said = TOKENIZER.decode(encoded.token_ids_T[encoded.weights_T > 0])
    # A line end that opens an answer may merge with the header's own; then its token is trained as a whole.
    assert said.replace("\n", "") == "".join(wanted).replace("\n", "")
    assert encoded.num_trained == int(encoded.weights_T.sum())
    assert set(np.unique(encoded.weights_T)) <= {0.0, 1.0}


@given(messages=conversations())
@settings(deadline=None)
def test_each_trained_turn_is_one_question(messages: tuple[Message, ...]) -> None:
    row = Row(id="r", messages=messages)
    assert [question.reference for question in iterate_questions(row)] == [m for m in messages if m.role == "assistant"]


@given(messages=conversations())
@settings(deadline=None, max_examples=40)
def test_pieces_join_to_the_rendered_text(messages: tuple[Message, ...]) -> None:
    template = TOKENIZER.chat_template
    assert template is not None
    masked = mask_row(Row(id="r", messages=messages), TOKENIZER)
    assert "".join(piece.text for piece in masked.pieces) == template.render_text(messages)


@given(content=TEXTS.filter(lambda text: "<tool_call>" not in text and not text.endswith("\n")), calls=CALLS)
def test_calls_are_read_back_as_they_were_written(content: str, calls: list[ToolCall]) -> None:
    content = content.strip()
    read, found = parse_tool_calls(render_tool_calls(content, calls))
    assert read == content
    assert [canonical_call(call) for call in found] == [canonical_call(call) for call in calls]


@given(messages=conversations())
@settings(deadline=None)
def test_the_template_writes_calls_as_we_read_them(messages: tuple[Message, ...]) -> None:
    template = TOKENIZER.chat_template
    assert template is not None
    rendered = template.render(messages)
    for turn in rendered.turns:
        message = messages[turn.message]
        text = rendered.text[turn.start : turn.end].removesuffix("<|im_end|>")
        if message.tool_calls and "tool_call>" not in message.text:
            found = parse_tool_calls(text)[1]
            assert [canonical_call(call) for call in found] == [canonical_call(call) for call in message.tool_calls]


@given(
    widths=st.lists(st.integers(1, 4), min_size=1, max_size=12),
    cut=st.tuples(st.integers(0, 48), st.integers(0, 48)),
)
def test_a_token_is_trained_when_it_overlaps_a_span(widths: list[int], cut: tuple[int, int]) -> None:
    """Against character sets: a token counts when it shares at least one character with the span."""
    ends = np.cumsum(widths)
    tokens = TokenizedText(np.zeros(len(widths), np.int32), np.stack([ends - widths, ends], axis=1))
    start, end = min(cut), max(cut)
    expected = [float(bool(set(range(low, high)) & set(range(start, end)))) for low, high in tokens.offsets]
    assert weigh_tokens(tokens, [(start, end)]).tolist() == expected
