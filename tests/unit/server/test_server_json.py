"""JSON from strangers is read strictly: what has two meanings or none is refused, everything else is as json has it."""

from __future__ import annotations

import json
import random

import pytest

from luthier.foundation.core.errors import ServeError
from luthier.server.strict_json import MAX_DEPTH, parse_json_object

TEXTS = ["", "a", "é", "\u0000", "\U0001f600", '"\\/', "\u2028", "key", "1e999", "NaN"]


def draw(rng: random.Random, depth: int = 0) -> object:
    """Draw any JSON value that has one meaning."""
    kind = rng.randrange(7 if depth < 5 else 5)
    if kind == 5:
        return [draw(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind == 6:
        return {text: draw(rng, depth + 1) for text in rng.sample(TEXTS, rng.randrange(4))}
    return [None, rng.random() < 0.5, rng.randrange(-(10**90), 10**90), rng.gauss(0, 1e9), rng.choice(TEXTS)][kind]


def test_what_json_writes_is_read_back() -> None:
    rng = random.Random(0)  # noqa: S311
    for _ in range(500):
        value = {"key": draw(rng)}
        assert parse_json_object(json.dumps(value).encode()) == value
        assert parse_json_object(json.dumps(value, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting property name"),
        (b"[]", "one object"),
        (b'"text"', "one object"),
        (b"null", "one object"),
        (b'{"a": NaN}', "NaN is no number"),
        (b'{"a": -Infinity}', "-Infinity is no number"),
        (b'{"a": 1e999}', "not finite"),
        (b'{"a": -1e999}', "not finite"),
        (b'{"a": ' + b"9" * 101 + b"}", "101 digits"),
        (b'{"a": ' + b"9" * 5000 + b"}", "5000 digits"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "'c' is there twice"),
        (b'{"n": 1, "n": 1}', "'n' is there twice"),
        (b'{"a": "\\ud800"}', "half a surrogate pair"),
        (b'{"\\udfff": 1}', "half a surrogate pair"),
        (b'{"a": "\xff"}', "byte 7 is not UTF-8"),
        (b'\xef\xbb\xbf{"a": 1}', "BOM"),
        (b'{"a": 1} {"b": 2}', "Extra data"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "deeper than 64"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "deeper than 64"),
    ],
)
def test_what_has_no_single_meaning_is_refused(body: bytes, reason: str) -> None:
    with pytest.raises(ServeError) as caught:
        parse_json_object(body)

    problem = caught.value.problems[0]
    assert problem.code == "E-SRV-020"
    assert reason in problem.got
    assert problem.allowed
    assert problem.fix


def test_the_bound_of_depth_is_exact() -> None:
    def nest(depth: int) -> bytes:
        return b'{"a": ' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"

    assert parse_json_object(nest(MAX_DEPTH))
    with pytest.raises(ServeError, match="deeper"):
        parse_json_object(nest(MAX_DEPTH + 1))
