"""A chat template is code from elsewhere: it comes to an end, stays in its sandbox, and says what went wrong."""

from __future__ import annotations

import jinja2
import pytest

from luthier.foundation.core.errors import DataError, ModelError
from luthier.instruments.text.templates import ChatTemplate
from tests.fixtures.text_tokenizers import CHATML, talk

ROW = talk("Hi", "Ho")


def make(source: str) -> ChatTemplate:
    return ChatTemplate(source, bos_token="<s>", eos_token="<|im_end|>")  # noqa: S106


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{% for b, c in [(1, 2)] * 99 %}{% endfor %}{% endfor %}",
        "{% set ns = namespace(t='x') %}{% for a in range(60) %}{% set ns.t = ns.t + ns.t %}{% endfor %}{{ ns.t }}",
        "{% set ns = namespace(t='x') %}{% for a in range(60) %}{% set ns.t = ns.t ~ ns.t %}{% endfor %}{{ ns.t }}",
        "{{ 'x' * 10**9 }}",
        "{{ 10**9 * 'x' }}",
        "{{ [1] * 10**9 }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ 'x'.ljust(10**9) }}",
        "{{ '%999999999d' % 1 }}",
        "{{ '{:999999999}'.format(1) }}",
        "{{ '%999999999d' | format(1) }}",
        "{{ 'x' | center(10**9) }}",
        "{{ 'x' | indent(width=10**9, first=true) }}",
        "{% set line = 'x' * 10**6 %}{% for a in range(99) %}{{ line }}{% endfor %}",
        "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
    ],
)
def test_a_template_that_does_not_end_is_stopped(source: str) -> None:
    with pytest.raises(ModelError, match="E-TXT-002") as caught:
        make(source).render(ROW, origin="rows.jsonl line 1")
    assert caught.value.problems[0].fix
    assert caught.value.problems[0].allowed


def test_a_long_conversation_may_be_looked_through_at_every_message() -> None:
    source = "{% for m in messages %}{% for other in messages %}{% endfor %}{{ m['content'] }}{% endfor %}"
    row = talk(*["a"] * 600)
    assert make(source).render_text(row) == "a" * 600


def test_a_range_beyond_jinjas_own_bound_is_refused() -> None:
    with pytest.raises(DataError, match="E-TXT-003"):
        make("{% for a in range(10**6) %}{% endfor %}").render_text(ROW)


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.__class__.__mro__ }}{{ messages.__class__.__mro__[1].__subclasses__() }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ cycler.__init__.__globals__['os'].system('true') }}",
        "{% set ns = namespace(__class__=1) %}",
        "{% set ns = namespace() %}{% set ns._x = 1 %}",
    ],
)
def test_what_leaves_the_sandbox_is_refused(source: str) -> None:
    with pytest.raises(DataError, match="E-TXT-003"):
        make(source).render_text(ROW)


@pytest.mark.parametrize("source", ["{% for m in messages %}", "{{ x | no_such_filter }}", "{% import 'x' %}{% block"])
def test_a_broken_template_is_refused_when_it_is_read(source: str) -> None:
    with pytest.raises(ModelError, match="E-TXT-001") as caught:
        make(source)
    assert "line" in caught.value.problems[0].origin


def test_a_templates_own_refusal_is_quoted() -> None:
    with pytest.raises(DataError, match="E-TXT-003") as caught:
        make("{{ raise_exception('roles must alternate') }}").render_text(ROW, origin="rows.jsonl line 3")
    assert "roles must alternate" in str(caught.value)
    assert "rows.jsonl line 3" in str(caught.value)


def test_the_clock_stands_still_and_is_flagged() -> None:
    template = make("{{ strftime_now('%d %b %Y') }}{% for m in messages %}{{ m['content'] }}{% endfor %}")
    assert template.uses_clock
    assert template.render_text(ROW) == "26 Jul 2024HiHo"
    assert not make(CHATML).uses_clock


def test_json_is_written_as_transformers_writes_it() -> None:
    source = "{{ {'b': '<é>', 'a': 1} | tojson }}{{ {'b': 2, 'a': 1} | tojson(sort_keys=true, separators=(',', ':')) }}"
    assert make(source).render_text(ROW) == '{"b": "<é>", "a": 1}{"a":1,"b":2}'


def test_loops_break_and_dictionaries_are_made() -> None:
    source = "{% for m in messages %}{% if loop.index0 %}{% break %}{% endif %}{{ dict(a=m['content']) }}{% endfor %}"
    assert make(source).render_text(ROW) == "{'a': 'Hi'}"


def test_hooks_cannot_be_named_by_a_template() -> None:
    with pytest.raises(ModelError, match="E-TXT-001"):
        make("{{ messages | loop step }}")


def test_blocks_are_trimmed_as_transformers_trims_them() -> None:
    source = "{% for m in messages %}\n    {% if true %}\n{{ m['content'] }}\n    {% endif %}\n{% endfor %}\n"
    theirs = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, autoescape=False)  # noqa: S701  a text
    assert make(source).render_text(ROW) == theirs.from_string(source).render(
        messages=[{"content": "Hi"}, {"content": "Ho"}]
    )
