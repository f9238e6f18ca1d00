"""Metrics by hand-derived values."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from luthier.foundation.schema.rows import FunctionCall, Message, ToolCall
from luthier.instruments.measure.calls import calls_agree
from luthier.instruments.measure.labels import normalise_label
from luthier.instruments.measure.metric import Item, to_metric_value
from luthier.instruments.measure.metrics import bits_per_byte, exact_match, json_validity, token_f1, tool_call
from luthier.instruments.measure.stats.paired import estimate


def _item(reference: str, answer: str) -> Item:
    return Item(Message(role="assistant", content=reference), answer, answer)


def _call(name: str, **arguments: Any) -> FunctionCall:
    return FunctionCall(name=name, arguments=json.dumps(arguments))


def _calling(expected: list[FunctionCall], given: list[FunctionCall], content: str = "") -> Item:
    reference = Message(role="assistant", tool_calls=tuple(ToolCall(function=call) for call in expected))
    return Item(reference, "as written", content, tuple(ToolCall(function=call) for call in given))


@pytest.mark.parametrize(
    ("reference", "answer", "score"),
    [("card_arrival", " card_arrival\n", 1), ("card_arrival", "Card_arrival", 0), ("", "", 1), ("a", "", 0)],
)
def test_exact_match_compares_texts_without_outer_spaces(reference: str, answer: str, score: float) -> None:
    assert exact_match.PLUGIN.score(_item(reference, answer), exact_match.Config()) == score


def test_exact_match_of_a_call_compares_the_call_not_its_spelling() -> None:
    config = exact_match.Config()
    right = _calling([_call("find", city="Rome", n=2)], [FunctionCall(name="find", arguments='{"n":2, "city":"Rome"}')])
    assert exact_match.PLUGIN.score(right, config) == 1
    assert exact_match.PLUGIN.score(_calling([_call("find", city="Rome")], [_call("find", city="rome")]), config) == 0
    assert exact_match.PLUGIN.score(_calling([_call("find")], [_call("find")], content="Sure!"), config) == 0
    assert exact_match.PLUGIN.score(_calling([], [_call("find")]), config) == 0


def test_labels_ignore_case_quotes_and_final_punctuation_only() -> None:
    assert normalise_label('"Lost  Card".') == normalise_label("lost card")
    assert normalise_label("lost card") != normalise_label("lost cards")


@pytest.mark.parametrize(
    ("reference", "answer", "score"),
    [
        ("the red car", "a red car!", 1.0),  # articles and punctuation go
        ("red car", "red bus", 0.5),  # one shared of two and two: 2 * 1 / 4
        ("red red car", "red", 0.5),  # counted as bags: 2 * 1 / 4
        ("red", "", 0.0),
        ("the", "a", 1.0),  # nothing left on both sides
    ],
)
def test_token_f1_by_hand(reference: str, answer: str, score: float) -> None:
    assert token_f1.PLUGIN.score(_item(reference, answer), token_f1.Config()) == score


@pytest.mark.parametrize(
    ("answer", "is_valid"),
    [
        ('{"a": [1, 2.5e3, null]}', True),
        ('"text"', True),
        ("{'a': 1}", False),
        ('{"a": 1} and more', False),
        ('{"a": NaN}', False),
        ('{"a": 1, "a": 2}', False),
        ("", False),
        ("[" * 100_000, False),
        ('```json\n{"a": 1}\n```', False),
    ],
)
def test_json_validity_is_strict(answer: str, is_valid: bool) -> None:
    assert json_validity.PLUGIN.score(_item("{}", answer), json_validity.Config()) == is_valid


def test_json_validity_options() -> None:
    fenced = _item("{}", '```json\n{"a": 1}\n```')
    assert json_validity.PLUGIN.score(fenced, json_validity.Config(allow_fence=True)) == 1
    keys = json_validity.Config(same_keys=True)
    assert json_validity.PLUGIN.score(_item('{"a": 1}', '{"a": 2}'), keys) == 1
    assert json_validity.PLUGIN.score(_item('{"a": 1}', '{"b": 1}'), keys) == 0


@pytest.mark.parametrize(
    ("given", "agrees"),
    [
        ([_call("book", city="new york", seats=2.0), _call("pay", to="o'hara")], True),
        ([_call("pay", to='o"hara'), _call("book", city="New-York", seats=2)], True),
        ([_call("book", city="New York", seats=2)], False),
        ([_call("book", city="New York", seats=3), _call("pay", to="o'hara")], False),
        ([_call("book", city="New York", seats=2, extra=1), _call("pay", to="o'hara")], False),
        ([_call("book", city="New York", seats=True), _call("pay", to="o'hara")], False),
        ([_call("Book", city="New York", seats=2), _call("pay", to="o'hara")], False),
        ([FunctionCall(name="book", arguments="{broken"), _call("pay", to="o'hara")], False),
    ],
)
def test_calls_agree_in_any_order_with_bfcls_spelling_rules(given: list[FunctionCall], agrees: bool) -> None:
    expected = [_call("book", city="New York", seats=2), _call("pay", to="o'hara")]
    assert calls_agree(expected, given, is_relaxed=True) is agrees


def test_repeated_calls_are_matched_one_to_one() -> None:
    once, twice = [_call("f", x=1), _call("f", x=2)], [_call("f", x=1), _call("f", x=1)]
    assert not calls_agree(once, twice, is_relaxed=True)
    assert calls_agree(once, list(reversed(once)), is_relaxed=True)


def test_tool_call_counts_silence_where_none_is_due() -> None:
    everything, calls_only = tool_call.Config(), tool_call.Config(questions="calls")
    silent = _calling([], [])
    assert tool_call.PLUGIN.score(silent, everything) == 1
    assert tool_call.PLUGIN.score(_calling([], [_call("f")]), everything) == 0
    assert not tool_call.PLUGIN.counts(silent, calls_only)
    exact = tool_call.Config(strings="exact")
    assert tool_call.PLUGIN.score(_calling([_call("f", x="A")], [_call("f", x="a")]), exact) == 0


def test_bits_per_byte_weighs_texts_by_their_bytes() -> None:
    """8 ln 2 nats over 4 bytes and 2 ln 2 over 2 (é is two): (8 + 2) / (4 + 2) bits a byte."""
    texts = [("abcd", 8.0), ("é", 2.0)]
    items = [Item(Message(role="assistant", content=text), nats=bits * math.log(2)) for text, bits in texts]
    sample = bits_per_byte.PLUGIN.sample(items, bits_per_byte.Config())
    value = to_metric_value(estimate(sample, ["a", "b"], seed=0), metric="forgetting.bits_per_byte", system="base")
    assert value.value == pytest.approx(10 / 6)
    assert (value.n, value.clusters, value.method, value.is_rough) == (2, 2, "bca_cluster", True)
    assert bits_per_byte.PLUGIN.score(items[1], bits_per_byte.Config()) == pytest.approx(1.0)
