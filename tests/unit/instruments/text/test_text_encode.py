"""Which tokens are trained, derived by hand for ChatML; and every way in which a row can be unfit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from luthier.foundation.core.errors import DataError
from luthier.foundation.schema.rows import FunctionCall, Message, Origin, Part, Row, ToolCall
from luthier.instruments.text import encode as encode_room
from luthier.instruments.text.encode import EncodedRow, encode_prompt, encode_row, encode_rows
from luthier.instruments.text.tokens import TextTokenizer, TokenizedText
from tests.fixtures.text_tokenizers import CHATML, call, make_tokenizer, talk

ORIGIN = Origin(file="rows.jsonl", line=9)
TOOL = {"type": "function", "function": {"name": "find", "parameters": {}}}


def row(*messages: Message, **parts: object) -> Row:
    return Row(id="r", messages=messages, origin=ORIGIN, **parts)  # type: ignore[arg-type]


def trained_text(encoded: EncodedRow, tokenizer: TextTokenizer) -> str:
    return tokenizer.decode(encoded.token_ids_T[encoded.weights_T > 0])


def refuse(bad: Row, code: str, tokenizer: TextTokenizer | None = None, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        encode_row(bad, tokenizer or make_tokenizer(), **options)  # type: ignore[arg-type]
    problem = caught.value.problems[0]
    assert (problem.code, problem.origin) == (code, "rows.jsonl line 9")
    assert problem.fix
    assert problem.allowed
    return problem.render()


def test_answers_and_their_ends_are_trained_and_nothing_else() -> None:
    tokenizer = make_tokenizer()
    encoded = encode_row(row(*talk("One?", "Two.", "Three?", "Four.", system="Be brief.")), tokenizer)
    assert trained_text(encoded, tokenizer) == "Two.<|im_end|>Four.<|im_end|>"
    whole = (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nOne?<|im_end|>\n<|im_start|>assistant\nTwo.<|im_end|>\n"
        "<|im_start|>user\nThree?<|im_end|>\n<|im_start|>assistant\nFour.<|im_end|>\n"
    )
    assert tokenizer.decode(encoded.token_ids_T) == whole
    assert (encoded.token_ids_T.dtype, encoded.weights_T.dtype) == (np.int32, np.float32)
    assert encoded.num_trained == int((encoded.weights_T > 0).sum())
    assert encoded.origin == ORIGIN


def test_the_last_turn_alone_can_be_trained() -> None:
    tokenizer = make_tokenizer()
    encoded = encode_row(row(*talk("One?", "Two.", "Three?", "Four.")), tokenizer, train_on="last")
    assert trained_text(encoded, tokenizer) == "Four.<|im_end|>"


def test_all_tokens_but_the_first_can_be_trained() -> None:
    tokenizer = make_tokenizer()
    encoded = encode_row(row(*talk("One?", "Two.")), tokenizer, train_on="all")
    assert encoded.weights_T.tolist() == [0.0] + [1.0] * (len(encoded.token_ids_T) - 1)


def test_a_tools_answer_is_never_trained() -> None:
    tokenizer = make_tokenizer()
    messages = (*talk("Where?"), Message(role="assistant", content="Let me see."), *talk("x"))
    result = Message(role="tool", content="secret result")
    tool_row = row(messages[0], messages[1], result, Message(role="assistant", content="Here."))
    for train_on in ("assistant", "all"):
        encoded = encode_row(tool_row, tokenizer, train_on=train_on)
        assert "secret result" in tokenizer.decode(encoded.token_ids_T)
        assert "secret" not in trained_text(encoded, tokenizer)


def test_a_messages_own_mark_wins_over_the_recipe() -> None:
    tokenizer = make_tokenizer()
    one, two, three, four = talk("One?", "Two.", "Three?", "Four.")
    muted, loud = two.model_copy(update={"is_trained": False}), two.model_copy(update={"is_trained": True})
    assert trained_text(encode_row(row(one, muted, three, four), tokenizer), tokenizer) == "Four.<|im_end|>"
    both = encode_row(row(one, loud, three, four), tokenizer, train_on="last")
    assert trained_text(both, tokenizer) == "Two.<|im_end|>Four.<|im_end|>"
    rest = encode_row(row(one, muted, three, four), tokenizer, train_on="all")
    assert "Two." not in trained_text(rest, tokenizer)


def test_an_empty_answer_trains_the_end_alone() -> None:
    tokenizer = make_tokenizer()
    assert trained_text(encode_row(row(*talk("Say nothing.", "")), tokenizer), tokenizer) == "<|im_end|>"


def test_every_byte_of_a_character_is_trained() -> None:
    """An emoji is several byte tokens with the same offsets; the first of them alone would teach broken text."""
    tokenizer = make_tokenizer()
    assert trained_text(encode_row(row(*talk("Hi", "🦜é")), tokenizer), tokenizer) == "🦜é<|im_end|>"


def test_texts_are_trained_from_the_second_token_to_the_end_token() -> None:
    tokenizer = make_tokenizer()
    encoded = encode_row(Row(id="t", kind="text", text="A page.", origin=ORIGIN), tokenizer)
    assert tokenizer.decode(encoded.token_ids_T) == "A page.<|im_end|>"
    assert encoded.weights_T.tolist() == [0.0] + [1.0] * (len(encoded.token_ids_T) - 1)


def test_texts_begin_with_the_token_that_the_tokenizer_adds() -> None:
    plain = make_tokenizer()
    tokenizer = TextTokenizer(plain._backend, special_tokens={"bos_token": "<s>", "eos_token": "</s>"}, adds_bos=True)
    encoded = encode_row(Row(id="t", kind="text", text="A page."), tokenizer)
    assert tokenizer.decode(encoded.token_ids_T) == "<s>A page.</s>"
    assert encoded.num_trained == len(encoded.token_ids_T) - 1


def test_a_prompt_ends_where_the_answer_begins() -> None:
    tokenizer = make_tokenizer()
    messages = talk("One?", "Two.")
    prompt = encode_prompt(messages[:1], (), tokenizer)
    encoded = encode_row(row(*messages), tokenizer)
    assert prompt.tolist() == encoded.token_ids_T[: len(prompt)].tolist()
    assert encoded.weights_T[: len(prompt)].sum() == 0
    assert encoded.weights_T[len(prompt)] == 1


@pytest.mark.parametrize("messages", [talk("Hi", "Ho", "Hi again"), talk("Hi"), ()])
def test_a_conversation_without_an_answer_at_its_end_is_refused(messages: tuple[Message, ...]) -> None:
    refuse(row(*messages), "E-TXT-008")


def test_a_row_with_nothing_to_train_is_refused() -> None:
    one, two = talk("One?", "Two.")
    refuse(row(one, two.model_copy(update={"is_trained": False})), "E-TXT-006")
    refuse(Row(id="t", kind="text", text="", origin=ORIGIN), "E-TXT-006")


def test_a_row_that_is_too_long_is_refused_with_its_length() -> None:
    fits = encode_row(row(*talk("One?", "Two.")), make_tokenizer())
    length = len(fits.token_ids_T)
    assert len(encode_row(row(*talk("One?", "Two.")), make_tokenizer(), max_length=length).token_ids_T) == length
    shown = refuse(row(*talk("One?", "Two.")), "E-TXT-009", max_length=length - 1)
    assert f"{length} tokens" in shown
    assert f"up to {length - 1}" in shown


def test_a_turn_whose_end_is_not_an_end_token_is_refused() -> None:
    """Without this the model would never learn to stop: here the template ends turns with another token."""
    source = CHATML.replace("<|im_end|>", "<|eot_id|>")
    shown = refuse(row(*talk("One?", "Two.")), "E-TXT-007", make_tokenizer(source))
    assert "eos_token_id" in shown
    listed = make_tokenizer(source, end_tokens=("<|eot_id|>",))
    assert trained_text(encode_row(row(*talk("One?", "Two.")), listed), listed) == "Two.<|eot_id|>"


def test_a_template_that_ends_the_last_turn_behind_its_loop_is_read() -> None:
    source = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% else %}<|im_end|>{% endif %}"
    )
    tokenizer = make_tokenizer(source)
    assert trained_text(encode_row(row(*talk("One?", "Two.")), tokenizer), tokenizer) == "Two.<|im_end|>"


@pytest.mark.parametrize(
    ("source", "messages", "tools", "says"),
    [
        (CHATML.replace("in messages", "in messages[-2:]"), talk("A?", "Bee.", "C?", "Dee."), (), "message 1"),
        (CHATML.replace("message['content']", "message['content'][:3]"), talk("Hello?", "Hello you."), (), "message 2"),
        (
            CHATML.replace("in messages", "in messages if message['role'] != 'system'"),
            talk("A?", "B.", system="Be."),
            (),
            "system",
        ),
        (CHATML, (*talk("A?"), call("find", "{}")), (), "the call to find"),
        (CHATML, talk("A?", "B."), (TOOL,), "the tool find"),
    ],
)
def test_what_a_template_drops_is_named(
    source: str, messages: tuple[Message, ...], tools: tuple[dict[str, object], ...], says: str
) -> None:
    assert says in refuse(row(*messages, tools=tools), "E-TXT-004", make_tokenizer(source))


def test_a_system_message_written_before_the_loop_is_no_dropped_turn() -> None:
    source = "{{ messages[0]['content'] | replace('B', 'W') }}" + CHATML.replace("in messages", "in messages[1:]")
    tokenizer = make_tokenizer(source)
    assert trained_text(encode_row(row(*talk("One?", "Two.", system="Be.")), tokenizer), tokenizer) == "Two.<|im_end|>"


def test_old_thoughts_may_be_left_out_on_purpose() -> None:
    source = CHATML.replace("message['content']", "message['content'].split('</think>')[-1]")
    tokenizer = make_tokenizer(source)
    encoded = encode_row(row(*talk("One?", "<think>hm</think>Two.")), tokenizer)
    assert trained_text(encoded, tokenizer) == "Two.<|im_end|>"


def test_rows_of_other_objectives_and_models_without_a_template_are_refused() -> None:
    one, two = talk("One?", "Two.")
    refuse(row(one, kind="preference", chosen=(two,), rejected=(two,)), "E-TXT-016")
    refuse(row(one, two), "E-TXT-019", make_tokenizer(None))


def test_pictures_and_broken_arguments_are_refused_at_rendering_too() -> None:
    picture = Message(role="user", content=(Part(type="image", blob="0" * 64),))
    refuse(row(picture, *talk("x", "y")[1:]), "E-TXT-018")
    broken = ToolCall(function=FunctionCall(name="find", arguments="{"))
    refuse(row(*talk("A?"), Message(role="assistant", tool_calls=(broken,))), "E-TXT-015")


def test_bad_rows_are_collected_counted_and_the_good_ones_kept() -> None:
    good = row(*talk("One?", "Two."))
    bad = [Row(id=f"b{line}", messages=talk("One?"), origin=Origin(file="f", line=line)) for line in range(1, 26)]
    result = encode_rows([good, *bad, good], make_tokenizer())
    assert (len(result.rows), len(result.problems), result.num_bad) == (2, 20, 25)
    assert [problem.origin for problem in result.problems] == [f"f line {line}" for line in range(1, 21)]
    with pytest.raises(DataError) as caught:
        result.raise_problems()
    assert [problem.code for problem in caught.value.problems] == ["E-TXT-008"] * 20 + ["E-DAT-009"]
    assert "25 bad rows, 2 good ones" in str(caught.value)


def test_good_rows_raise_nothing() -> None:
    encoded = encode_rows([row(*talk("One?", "Two."))], make_tokenizer())
    encoded.raise_problems()
    assert (len(encoded.rows), encoded.num_bad) == (1, 0)


# Tests of the tests: a broken mask must turn a law above red.

Weigh = Callable[[TokenizedText, list[tuple[int, int]]], np.ndarray]


def shift_by_one(weigh: Weigh) -> Weigh:
    return lambda tokens, spans: np.roll(weigh(tokens, spans), -1)


def forget_ends(weigh: Weigh) -> Weigh:
    def broken(tokens: TokenizedText, spans: list[tuple[int, int]]) -> np.ndarray:
        return weigh(tokens, [(start, end - len("<|im_end|>")) for start, end in spans])

    return broken


def train_users(weigh: Weigh) -> Weigh:
    return lambda tokens, spans: np.ones_like(weigh(tokens, spans))


@pytest.mark.parametrize("mutate", [shift_by_one, forget_ends, train_users])
def test_a_broken_mask_is_noticed(mutate: Callable[[Weigh], Weigh], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode_room, "weigh_tokens", mutate(encode_room.weigh_tokens))
    with pytest.raises((AssertionError, DataError)):
        test_answers_and_their_ends_are_trained_and_nothing_else()


def test_labels_off_by_one_are_refused_as_an_untrained_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode_room, "weigh_tokens", forget_ends(encode_room.weigh_tokens))
    refuse(row(*talk("One?", "Two.")), "E-TXT-007")
