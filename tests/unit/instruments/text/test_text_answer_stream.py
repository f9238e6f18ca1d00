"""Tokens to text as they come: whatever the cuts, the pieces are the whole, and no piece is taken back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.instruments.text.answer_stream import AnswerStream
from luthier.instruments.text.tokens import TextTokenizer, load_tokenizer
from luthier.instruments.text.tool_calls import parse_tool_calls
from tests.fixtures.tiny_models import write_tiny_tokenizer

CALL = '<tool_call>\n{"name": "pay", "arguments": {"sum": 3}}\n</tool_call>'
LLAMA_CALL = '{"name": "pay", "parameters": {"sum": 3}}'


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    folder: Path = write_tiny_tokenizer(tmp_path_factory.mktemp("tokenizer"))
    return load_tokenizer(folder)


def _bytes_of(tokenizer: TextTokenizer, text: str) -> list[int]:
    """Spell a text one byte a token, the worst cut there is."""
    return [token for byte in text.encode() for token in _token_of_byte(tokenizer, byte)]


def _token_of_byte(tokenizer: TextTokenizer, byte: int) -> list[int]:
    """Byte-level BPE writes printable bytes as themselves, the others as characters from 256 on."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [other for other in range(256) if other not in plain]
    token = tokenizer.token_id(chr(byte) if byte in plain else chr(256 + others.index(byte)))
    assert token is not None
    return [token]


def _stream(tokenizer: TextTokenizer, ids: list[int], **options: Any) -> tuple[list[str], AnswerStream]:
    stream = AnswerStream(tokenizer, **options)
    pieces = []
    for token in ids:
        pieces.append(stream.add(token))
        if stream.is_stopped:
            break
    return [*pieces, stream.close().text], stream


def _cut_by_hand(text: str, stops: list[str]) -> str:
    """Read character by character and end where the first stop text is complete."""
    for end in range(1, len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop)]
        if found:
            return text[: end - max(map(len, found))]
    return text


@given(st.text(max_size=30))
def test_pieces_are_the_whole_text_and_hold_no_half_character(tokenizer: TextTokenizer, text: str) -> None:
    for ids in (_bytes_of(tokenizer, text), tokenizer.encode(text).ids.tolist()):
        pieces, _ = _stream(tokenizer, ids)
        assert "".join(pieces) == text
        assert all("\ufffd" not in piece for piece in pieces) or "\ufffd" in text


def test_bytes_that_are_no_text_come_out_as_the_tokenizer_writes_them(tokenizer: TextTokenizer) -> None:
    ids = [token for byte in (0x41, 0xE2, 0x82, 0x42, 0xE2, 0x82) for token in _token_of_byte(tokenizer, byte)]
    pieces, _ = _stream(tokenizer, ids)
    assert "".join(pieces) == tokenizer.decode(ids)
    assert pieces[:3] == ["A", "", ""], "half a character waits for its rest"


@given(st.text("abc", max_size=20), st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=3))
def test_the_first_complete_stop_text_ends_the_answer_whatever_the_tokens(
    tokenizer: TextTokenizer, text: str, stops: list[str]
) -> None:
    pieces, stream = _stream(tokenizer, _bytes_of(tokenizer, text), stop=stops)
    assert "".join(pieces) == _cut_by_hand(text, stops)
    assert stream.is_stopped == any(stop in text for stop in stops)


@given(st.text("abc", max_size=12), st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=2))
def test_text_goes_out_as_soon_as_no_stop_text_can_take_it_back(
    tokenizer: TextTokenizer, text: str, stops: list[str]
) -> None:
    """Held back is the longest end of the text that begins a stop text: no more, no less."""
    stream = AnswerStream(tokenizer, stop=stops)
    given_out = ""
    for place, token in enumerate(_bytes_of(tokenizer, text), 1):
        given_out += stream.add(token)
        if stream.is_stopped:
            return
        seen = text[:place]
        held = max((n for stop in stops for n in range(1, len(stop)) if seen.endswith(stop[:n])), default=0)
        assert given_out == seen[: len(seen) - held]


def test_nothing_comes_after_a_stop_text(tokenizer: TextTokenizer) -> None:
    stream = AnswerStream(tokenizer, stop=["b"])
    assert [stream.add(token) for token in _bytes_of(tokenizer, "abc")] == ["a", "", ""]
    assert stream.close().text == ""


@pytest.mark.parametrize(
    ("style", "text"),
    [
        ("hermes", CALL),
        ("hermes", f"let me see\n{CALL}"),
        ("hermes", f"\n {CALL}\n{CALL}"),
        ("hermes", f"a{CALL}tail"),
        ("hermes", "a < b, <tool_cal no"),
        ("hermes", "<tool_call>no json</tool_call>"),
        ("hermes", f"x\n<tool_call>no</tool_call>\n{CALL}"),
        ("hermes", "ends with a line end\n"),
        ("hermes", "  "),
        ("llama", LLAMA_CALL),
        ("llama", "{not a call}"),
        ("llama", " plain {text}"),
        ("none", CALL),
    ],
)
def test_streamed_content_and_calls_equal_those_of_the_whole_text(
    tokenizer: TextTokenizer, style: str, text: str
) -> None:
    stream = AnswerStream(tokenizer, call_style=style)
    pieces = [stream.add(token) for token in _bytes_of(tokenizer, text)]
    closing = stream.close()
    content, calls = parse_tool_calls(text, style)
    assert "".join(pieces) + closing.text == content
    assert closing.calls == calls


def test_content_before_a_call_does_not_wait_for_it(tokenizer: TextTokenizer) -> None:
    stream = AnswerStream(tokenizer, call_style="hermes")
    given_out = "".join(stream.add(token) for token in _bytes_of(tokenizer, "one moment\n<tool_call>\n{"))
    assert given_out == "one moment"
    plain = AnswerStream(tokenizer, call_style="llama")
    assert "".join(plain.add(token) for token in _bytes_of(tokenizer, "hello {")) == "hello {"
