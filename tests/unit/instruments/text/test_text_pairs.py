"""Preference rows become two sequences that differ in the answer alone, and only answers are trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from luthier.foundation.core.errors import DataError
from luthier.foundation.schema.rows import Message, Origin, Row
from luthier.instruments.text.encode import encode_row
from luthier.instruments.text.fit import FittedRows, fit_pairs
from luthier.instruments.text.pairs import EncodedPair, as_conversation, encode_pair
from luthier.instruments.text.show import mask_rows
from luthier.instruments.text.tokens import TextTokenizer, load_tokenizer
from tests.fixtures.tiny_models import write_tiny_tokenizer

ORIGIN = Origin(file="pairs.jsonl", line=7)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    write_tiny_tokenizer(folder)
    return load_tokenizer(folder)


def make_preference(chosen: str = "yes, of course", rejected: str = "no", **changes: Any) -> Row:
    """Make a preference whose prompt holds an assistant's turn of its own."""
    prompt = (("system", "Be kind."), ("user", "hello"), ("assistant", "good day"), ("user", "can you help me?"))
    values: dict[str, Any] = {
        "id": "p",
        "kind": "preference",
        "messages": tuple(Message(role=role, content=text) for role, text in prompt),
        "chosen": (Message(role="assistant", content=chosen),),
        "rejected": (Message(role="assistant", content=rejected),),
        "origin": ORIGIN,
    }
    return Row(**(values | changes))


def trained_text(pair: EncodedPair, tokenizer: TextTokenizer) -> list[str]:
    return [
        tokenizer.decode(sequence.token_ids_T[sequence.weights_T > 0].tolist()).strip() for sequence in pair.sequences
    ]


def test_each_answer_is_trained_with_the_end_of_its_turn_and_nothing_before_it(tokenizer: TextTokenizer) -> None:
    pair = encode_pair(make_preference(), tokenizer)
    assert trained_text(pair, tokenizer) == ["yes, of course<|im_end|>", "no<|im_end|>"]


def test_both_sequences_are_what_a_conversation_with_that_answer_would_be(tokenizer: TextTokenizer) -> None:
    row = make_preference()
    pair = encode_pair(row, tokenizer)
    for side, sequence in (("chosen", pair.chosen), ("rejected", pair.rejected)):
        written = Row(id="c", messages=(*row.messages, *getattr(row, side)))
        assert sequence.token_ids_T.tolist() == encode_row(written, tokenizer).token_ids_T.tolist()
    start = int(pair.chosen.weights_T.argmax())
    assert pair.chosen.token_ids_T[:start].tolist() == pair.rejected.token_ids_T[:start].tolist()


def test_what_is_trained_of_a_preference_can_be_looked_at(tokenizer: TextTokenizer) -> None:
    """Two masked rows, whose trained pieces are the answers and whose other text is the prompt."""
    masked, problems = mask_rows([make_preference()], tokenizer)
    assert problems == []
    assert [row.id for row in masked] == ["p:chosen", "p:rejected"]
    trained = ["".join(piece.text for piece in row.pieces if piece.is_trained) for row in masked]
    assert [text.strip() for text in trained] == ["yes, of course<|im_end|>", "no<|im_end|>"]
    assert all("good day" in row.pieces[0].text for row in masked)


def test_a_pair_counts_the_tokens_of_both_sequences(tokenizer: TextTokenizer) -> None:
    pair = encode_pair(make_preference(), tokenizer)
    assert pair.num_tokens == len(pair.chosen.token_ids_T) + len(pair.rejected.token_ids_T)
    assert pair.num_trained == (pair.chosen.weights_T > 0).sum() + (pair.rejected.weights_T > 0).sum()
    assert pair.chosen.sequences == (pair.chosen,)


def test_a_preference_as_a_conversation_is_its_prompt_and_its_chosen_answer() -> None:
    row = make_preference()
    assert as_conversation(row) == Row(id="p", messages=(*row.messages, *row.chosen), origin=ORIGIN)
    plain = as_conversation(row)
    assert as_conversation(plain) is plain


def refuse(row: Row, tokenizer: TextTokenizer) -> DataError:
    with pytest.raises(DataError) as caught:
        encode_pair(row, tokenizer)
    problem = caught.value.problems[0]
    assert problem.origin == "pairs.jsonl line 7"
    assert problem.got
    assert problem.allowed
    assert problem.fix
    return caught.value


def test_two_answers_of_the_same_tokens_are_refused(tokenizer: TextTokenizer) -> None:
    error = refuse(make_preference("same", "same"), tokenizer)
    assert error.code == "E-TXT-020"
    assert "nothing to prefer" in error.problems[0].what


def test_a_row_of_another_kind_is_refused_and_names_its_objective(tokenizer: TextTokenizer) -> None:
    row = as_conversation(make_preference())
    error = refuse(row, tokenizer)
    assert (error.code, error.problems[0].fix) == ("E-TXT-016", "--set train.objective=sft")
    with pytest.raises(DataError) as caught:
        encode_row(make_preference(), tokenizer)
    assert (caught.value.code, caught.value.problems[0].fix) == ("E-TXT-016", "--set train.objective=dpo")


@pytest.mark.parametrize("side", ["chosen", "rejected"])
def test_an_answer_that_trains_nothing_is_refused(side: str, tokenizer: TextTokenizer) -> None:
    silent = (Message(role="assistant", content="x", is_trained=False),)
    assert refuse(make_preference().model_copy(update={side: silent}), tokenizer).code == "E-TXT-006"


@pytest.mark.parametrize(("too_long", "num_dropped", "num_bad"), [("refuse", 0, 1), ("drop", 1, 0), ("split", 0, 1)])
def test_a_pair_too_long_in_either_answer_is_refused_or_left_out_and_never_cut(
    too_long: str, num_dropped: int, num_bad: int, tokenizer: TextTokenizer
) -> None:
    rows = [make_preference(id="short"), make_preference(rejected="word " * 60, id="long")]
    limit = encode_pair(rows[0], tokenizer).chosen.num_tokens + 20
    seen: list[int] = []
    fitted: FittedRows[EncodedPair] = fit_pairs(
        rows, tokenizer, max_length=limit, too_long=too_long, on_row=lambda: seen.append(1)
    )
    assert [pair.id for pair in fitted.encoded.rows] == ["short"]
    assert (len(fitted.dropped), fitted.encoded.num_bad, len(seen)) == (num_dropped, num_bad, 2)
    if num_bad:
        assert fitted.encoded.problems[0].code == "E-TXT-009"
