"""Long rows are refused, dropped or split at turns; no trained token is lost and nothing is cut silently."""

from __future__ import annotations

from pathlib import Path

import pytest

from luthier.foundation.schema.rows import Message, Origin, Row
from luthier.instruments.text.encode import EncodedRow, encode_row
from luthier.instruments.text.fit import FittedRows, fit_rows
from luthier.instruments.text.tokens import TextTokenizer, load_tokenizer
from tests.fixtures.tiny_models import write_tiny_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    """A byte-level tokenizer with a ChatML-like template."""
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    write_tiny_tokenizer(folder)
    return load_tokenizer(folder)


def make_conversation(num_exchanges: int) -> Row:
    messages = [Message(role="system", content="Be brief.")]
    for number in range(num_exchanges):
        messages.append(Message(role="user", content=f"question {number} " + "x" * 20))
        messages.append(Message(role="assistant", content=f"answer {number}"))
    return Row(id="c", messages=tuple(messages), origin=Origin(file="rows.jsonl", line=3))


def fit(row: Row, tokenizer: TextTokenizer, too_long: str, max_length: int = 120) -> FittedRows[EncodedRow]:
    return fit_rows([row], tokenizer, train_on="assistant", max_length=max_length, too_long=too_long)


def test_refused_rows_are_problems_with_file_and_line(tokenizer: TextTokenizer) -> None:
    fitted = fit(make_conversation(6), tokenizer, "refuse")
    assert fitted.encoded.rows == ()
    assert fitted.encoded.problems[0].code == "E-TXT-009"
    assert fitted.encoded.problems[0].origin == "rows.jsonl line 3"


def test_dropped_rows_are_named(tokenizer: TextTokenizer) -> None:
    fitted = fit(make_conversation(6), tokenizer, "drop")
    assert fitted.dropped == ("c",)
    assert fitted.encoded.num_bad == 0


def test_split_keeps_every_trained_token_and_the_system_message(tokenizer: TextTokenizer) -> None:
    row = make_conversation(6)
    fitted = fit(row, tokenizer, "split")
    pieces = fitted.encoded.rows
    assert len(pieces) > 1
    assert [piece.id for piece in pieces] == [f"c#{n}" for n in range(1, len(pieces) + 1)]
    assert all(len(piece.token_ids_T) <= 120 for piece in pieces)
    assert sum(piece.num_trained for piece in pieces) == encode_row(row, tokenizer).num_trained
    assert all("Be brief." in tokenizer.decode(piece.token_ids_T) for piece in pieces)


def test_an_exchange_that_is_too_long_alone_is_a_problem_and_no_piece_is_kept(tokenizer: TextTokenizer) -> None:
    long = Message(role="user", content="y" * 500)
    row = make_conversation(3)
    row = row.model_copy(update={"messages": (*row.messages, long, Message(role="assistant", content="ok"))})
    fitted = fit(row, tokenizer, "split")
    assert fitted.encoded.rows == ()
    assert fitted.encoded.num_bad == 1


def test_split_text_loses_no_character(tokenizer: TextTokenizer) -> None:
    text = "".join(f"sentence {n} of a long text. " for n in range(40))
    fitted = fit(Row(id="t", kind="text", text=text), tokenizer, "split")
    pieces = [tokenizer.decode(piece.token_ids_T) for piece in fitted.encoded.rows]
    assert "".join(piece.replace(tokenizer.end_token, "") for piece in pieces) == text


def test_rows_that_fit_are_left_alone(tokenizer: TextTokenizer) -> None:
    row = make_conversation(1)
    for too_long in ("refuse", "drop", "split"):
        assert [piece.id for piece in fit(row, tokenizer, too_long).encoded.rows] == ["c"]
