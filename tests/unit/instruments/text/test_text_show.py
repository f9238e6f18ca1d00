"""What people see of a mask is the mask; what is asked of a row is its answers."""

from __future__ import annotations

from luthier.foundation.schema.rows import Message, Origin, Row
from luthier.instruments.text.encode import encode_row
from luthier.instruments.text.questions import find_prompt_mismatches, iterate_questions
from luthier.instruments.text.show import mask_row, mask_rows
from tests.fixtures.text_tokenizers import CHATML, call, make_tokenizer, talk

ROW = Row(id="r", messages=talk("One?", "Two\nlines 🦜", system="Be."), origin=Origin(file="f.jsonl", line=3))


def test_pieces_join_to_the_text_and_alternate() -> None:
    tokenizer = make_tokenizer()
    masked, encoded = mask_row(ROW, tokenizer), encode_row(ROW, tokenizer)
    assert "".join(piece.text for piece in masked.pieces) == tokenizer.decode(encoded.token_ids_T)
    assert [piece.text for piece in masked.pieces if piece.is_trained] == ["Two\nlines 🦜<|im_end|>"]
    assert [piece.is_trained for piece in masked.pieces] == [False, True, False]
    assert (masked.num_tokens, masked.num_trained) == (len(encoded.token_ids_T), encoded.num_trained)


def test_a_text_row_is_shown_with_its_end_token() -> None:
    pieces = mask_row(Row(id="t", kind="text", text="A page."), make_tokenizer()).pieces
    assert "".join(piece.text for piece in pieces) == "A page.<|im_end|>"
    assert not pieces[0].is_trained


def test_bad_rows_are_named_beside_the_good_ones() -> None:
    bad = Row(id="b", messages=talk("One?"), origin=Origin(file="f.jsonl", line=4))
    mute = Row(id="m", kind="text", origin=Origin(file="f.jsonl", line=5))
    masked, problems = mask_rows([bad, ROW, mute], make_tokenizer())
    assert [row.id for row in masked] == ["r"]
    assert [(problem.code, problem.origin) for problem in problems] == [
        ("E-TXT-008", "f.jsonl line 4"),
        ("E-TXT-006", "f.jsonl line 5"),
    ]


def test_each_answer_after_a_question_is_asked() -> None:
    greeting, first = Message(role="assistant", content="Hello."), call("find", "{}")
    result = Message(role="tool", content="here")
    last = Message(role="assistant", content="Here.")
    row = Row(id="r", messages=(greeting, *talk("Where?"), first, result, last), origin=Origin(file="f", line=1))
    asked = list(iterate_questions(row))
    assert [(question.id, question.turn, question.message) for question in asked] == [("r#1", 1, 2), ("r#2", 2, 4)]
    assert asked[0].reference == first
    assert asked[1].messages == row.messages[:4]
    assert (asked[1].group, str(asked[1].origin)) == ("r", "f line 1")


def test_history_that_is_not_trained_is_not_asked() -> None:
    one, two, three, four = talk("One?", "Two.", "Three?", "Four.")
    row = Row(id="r", group="g", messages=(one, two.model_copy(update={"is_trained": False}), three, four))
    asked = list(iterate_questions(row))
    assert [question.reference.text for question in asked] == ["Four."]
    assert asked[0].group == "g"
    assert list(iterate_questions(Row(id="t", kind="text", text="a"))) == []


def test_prompts_that_do_not_begin_the_row_are_found() -> None:
    row = Row(id="r", messages=talk("One?", "Two.", "Three?", "Four."))
    assert find_prompt_mismatches(row, make_tokenizer()) == ()
    thinking = CHATML.replace("assistant\n' }}{% endif %}", "assistant\n<think>' }}{% endif %}")
    assert find_prompt_mismatches(row, make_tokenizer(thinking)) == (1, 3)
    assert find_prompt_mismatches(row, make_tokenizer(None)) == ()


def test_an_answer_that_merges_with_the_prompts_last_token_is_found() -> None:
    """The prompt ends in ``r`` and the answer begins with ``e``, which the vocabulary writes as one token."""
    tokenizer = make_tokenizer(
        CHATML.replace("'<|im_start|>' + message['role'] + '\n'", "'r'").replace("<|im_start|>assistant\n", "r")
    )
    assert len(tokenizer.encode("re").ids) == 1
    assert find_prompt_mismatches(Row(id="r", messages=talk("One?", "even")), tokenizer) == (1,)
    assert find_prompt_mismatches(Row(id="r", messages=talk("One?", "0")), tokenizer) == ()
