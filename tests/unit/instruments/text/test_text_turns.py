"""Spans of templates of many shapes: each exact, or refused."""

from __future__ import annotations

import pytest

from luthier.foundation.core.errors import DataError
from luthier.foundation.schema.rows import Message
from luthier.instruments.text.templates import ChatTemplate, Rendered
from luthier.instruments.text.turns import read_marks
from tests.fixtures.text_tokenizers import CHATML, call, talk

ROW = talk("One?", "Two.", "Three?", "Four.")
TOOL = {"type": "function", "function": {"name": "find", "parameters": {}}}


def render(source: str, messages: tuple[Message, ...] = ROW, tools: tuple[dict[str, object], ...] = ()) -> Rendered:
    template = ChatTemplate(source, bos_token="<s>", eos_token="</s>", end_tokens=("</s>", "<|im_end|>"))  # noqa: S106
    return template.render(messages, tools, origin="rows.jsonl line 2")


def answers(rendered: Rendered) -> list[str]:
    return ["".join(rendered.text[start:end] for start, end in turn.spans) for turn in rendered.turns]


ENDED = ["Two.</s>", "Four.</s>"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (CHATML, ["Two.<|im_end|>", "Four.<|im_end|>"]),
        # no prompt of its own for generation: the answer follows the user's text
        ("{% for m in messages %}{{ m.content + (eos_token if m.role == 'assistant' else ' ') }}{% endfor %}", ENDED),
        # the system message is taken out first, the rest looped over as a slice
        (
            "{{ bos_token }}{% set rest = messages[0:] %}{% for m in rest %}{{ m.content }}{{ eos_token }}{% endfor %}",
            ENDED,
        ),
        # messages looked through beforehand, in reverse
        (
            "{% for m in messages[::-1] %}{% set x = m.role %}{% endfor %}" + CHATML,
            ["Two.<|im_end|>", "Four.<|im_end|>"],
        ),
        # a macro writes each message
        (
            "{% macro say(m) %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endmacro %}"
            "{% for m in messages %}{{ say(m) }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}",
            ENDED,
        ),
        # generation marks tell what is written
        (
            "{% for m in messages %}{% if m.role == 'assistant' %}[a]{% generation %}{{ m.content }}!"
            "{% endgeneration %}{% else %}[u]{{ m.content }}{% endif %}{% endfor %}",
            ["Two.!", "Four.!"],
        ),
        # several marks in one turn
        (
            "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}#"
            "{% generation %}!{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}",
            ["Two.!", "Four.!"],
        ),
        # messages by number: no loop over them, so beginnings are rendered
        (
            "{% for i in range(messages | length) %}{% set m = messages[i] %}[{{ m.role }}]{{ m.content }}"
            "{{ eos_token }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}",
            ENDED,
        ),
        # marks without a loop over messages: one for each answer
        (
            "{% for i in range(messages | length) %}{% set m = messages[i] %}{% if m.role == 'assistant' %}"
            "{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}",
            ["Two.", "Four."],
        ),
        # the history is written differently once an answer follows: only the ends of the prompt are alike
        (
            "{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ '*' if loop.last and m.role == 'user' else '' }}"
            "{{ eos_token }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}",
            ENDED,
        ),
        # the prompt begins a thought that only the last turn keeps
        (
            "{% for m in messages %}[{{ m.role }}]{{ '<hm>' if loop.last and m.role == 'assistant' else '' }}"
            "{{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}[assistant]<hm>{% endif %}",
            ENDED,
        ),
        # the prompt begins a thought that the history leaves out
        (
            "{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}"
            "{% if add_generation_prompt %}[assistant]<think>{% endif %}",
            ENDED,
        ),
    ],
)
def test_answers_are_told_from_all_else(source: str, expected: list[str]) -> None:
    assert answers(render(source)) == expected


def test_a_content_that_looks_like_the_prompts_thought_is_still_whole() -> None:
    source = (
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]<think>{% endif %}"
    )
    assert answers(render(source, talk("One?", "<the end"))) == ["<the end</s>"]


def test_calls_are_part_of_the_answer_and_results_are_not() -> None:
    source = (
        "{% for t in tools or [] %}{{ t.function.name }}{% endfor %}"
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% for c in m.tool_calls or [] %}"
        "({{ c.function.name }}{{ c.function.arguments | tojson }}){% endfor %}{{ eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    messages = (
        *talk("Where?"),
        call("find", '{"id": 7}'),
        Message(role="tool", content="here"),
        *talk("x", "Here.")[1:],
    )
    assert answers(render(source, messages, (TOOL,))) == ['(find{"id": 7})</s>', "Here.</s>"]


@pytest.mark.parametrize(
    "source",
    [
        # written twice
        "{% for n in range(2) %}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% endfor %}",
        # by number, and earlier messages change once later ones follow
        "{% for i in range(messages | length) %}{{ messages | length }}{{ messages[i].content }}{% endfor %}",
        # the prompt has nothing to do with the turns
        "{% for m in messages %}{{ messages | length }}[{{ m.role }}]{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}Answer:{% endif %}",
        # marks that fit no turn
        "{% generation %}{{ messages[1].content }}{% endgeneration %}{% generation %}a{% endgeneration %}"
        "{% generation %}b{% endgeneration %}",
    ],
)
def test_what_cannot_be_told_apart_is_refused(source: str) -> None:
    with pytest.raises(DataError, match="E-TXT-005") as caught:
        render(source)
    assert "generation" in caught.value.problems[0].fix


def test_results_inside_the_assistants_turn_are_refused() -> None:
    source = (
        "{% for m in messages %}{% if m.role != 'tool' %}[{{ m.role }}]{{ m.content }}"
        "{% for c in m.tool_calls or [] %}{{ c.function.name }}={{ messages[loop.index0 + 2].content }}{% endfor %}"
        "{{ eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    messages = (*talk("Where?"), call("find", "{}"), Message(role="tool", content="here"), *talk("x", "Here.")[1:])
    with pytest.raises(DataError, match="inside the assistant's turn"):
        render(source, messages)


def test_marks_leave_no_trace_whatever_the_text_holds() -> None:
    """The first pair of marks is in the text, so another is taken."""
    messages = talk("\ufdd0m1.0\ufdd1", "\ufdd0Two.\ufdd1")
    rendered = render(CHATML, messages)
    assert answers(rendered) == ["\ufdd0Two.\ufdd1<|im_end|>"]


def test_a_text_that_holds_every_mark_is_told_apart_by_beginnings() -> None:
    every = "".join(chr(code) for code in range(0xFDD0, 0xFDF0))
    assert answers(render(CHATML, talk(every, every))) == [f"{every}<|im_end|>"]


def test_a_template_that_reads_its_own_output_is_told_apart_by_beginnings() -> None:
    source = (
        "{% set out %}{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}{% endset %}"
        "{{ out | length if out | length > 10**6 else out | replace('m', 'm') | truncate(10**6, true) }}"
        "{{ out | length }}"
    )
    with pytest.raises(DataError, match="E-TXT-005"):
        render(source)


def test_marks_nest_as_loops_do() -> None:
    layout = read_marks("{m1.0}a{m2.5}b{e2}c{m1.1}d{e1}e{g}f{h}", "{", "}")
    assert layout.text == "abcdef"
    assert layout.regions == {0: [(0, 1), (2, 3)], 5: [(1, 2)], 1: [(3, 4)]}
    assert layout.generated == [(-1, (5, 6))]
    assert layout.tail == "ef"


def test_spans_name_messages_and_answers() -> None:
    spans = [(span.kind, span.message) for span in render(CHATML, talk("One?", "Two.")).spans]
    assert spans == [("message", 0), ("message", 1), ("answer", 1)]
