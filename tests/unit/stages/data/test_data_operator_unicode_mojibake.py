"""Text whose encoding was misread comes back to the letter; text that never was stays as it is."""

# ruff: noqa: RUF001  letters and marks of many scripts

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.foundation.schema.rows import FunctionCall, Message, Row, ToolCall
from luthier.stages.data.operators.unicode.cleaning import Cleaning, clean_text
from luthier.stages.data.operators.unicode.config import Config
from luthier.stages.data.operators.unicode.mojibake import repair_text
from luthier.stages.data.operators.unicode.operator import PLUGIN
from luthier.stages.data.outcomes import Changed, Kept
from tests.fixtures.data_rows import make_row

SENTENCES = (
    "Grüße aus Köln, René",
    "Señora Inés, mañana a las once en Málaga",
    "C’est l’été – à bientôt",
    "“quoted” — it’s €5…",
    "Zażółć gęślą jaźń",
    "Příliš žluťoučký kůň",
    "Smörgåsbord på öländska",
    "İstanbul’da çığlık",
    "Не могу войти в аккаунт",
    "Πού είναι η παραγγελία μου;",
    "注文はどこですか",
    "我的订单在哪里",
    "주문이 어디에 있나요",
    "मेरा ऑर्डर कहाँ है",
    "أين طلبي؟",
    "איפה ההזמנה שלי",
    "thanks 🙏👍",
)
SCRIPTS = (
    "абвгдежзийклмнопрстуфхцчшщъыьэюя",
    "αβγδεζηθικλμνξοπρστυφχψωάέήίόύώ",
    "אבגדהוזחטיכלמנסעפצקרשת",
    "ابتثجحخدذرزسشصضطظعغفقكلمنهوي",
    "कखगघचछजझटठडढणतथदधनपफबभमयरलवशषसह",
    "あいうえおかきくけこさしすせそ日本語東京",
    "가나다라마바사아자차카타파하",
    "abcdeéèêàçùôîïü",
    "abcdeäöüß",
    "abcdeñáéíóú",
)
OPENING_MARKS = ("", "", "¿", "¡")  # before a word, never within: there \u00c9\u00a1 is \u0261 misread


def misread(text: str, encoding: str = "cp1252") -> str:
    """Read UTF-8 bytes as a Western code page; bytes that it does not have, as Latin-1 has them."""
    data = text.encode()
    if encoding == "latin-1":
        return data.decode("latin-1")
    return "".join(bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in data)


@pytest.mark.parametrize("sentence", SENTENCES)
@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
def test_a_misread_sentence_comes_back_to_the_letter(sentence: str, encoding: str) -> None:
    broken = misread(sentence, encoding)
    assert broken != sentence
    assert repair_text(broken) == sentence


@pytest.mark.parametrize("sentence", SENTENCES[:4])
def test_a_sentence_misread_twice_comes_back_too(sentence: str) -> None:
    assert repair_text(misread(misread(sentence))) == sentence


def test_a_broken_word_in_a_sound_line_and_a_broken_line_in_a_sound_text_are_repaired() -> None:
    assert repair_text("The caf\u00c3\u00a9 is open and it\u00e2\u20ac\u2122s full") == "The café is open and it’s full"
    assert repair_text(f"Grüße\n{misread('Grüße')}\nплан") == "Grüße\nGrüße\nплан"


@pytest.mark.parametrize(
    "text",
    [
        *SENTENCES,
        "SÃO PAULO, IRMÃ, AÇÃO",
        "prix : 5 € «à débattre» ½ × 2 ± 1 µm ©2026",
        "Ångström naïve façade Curaçao",
        "y\u0085es",  # a control character by itself may be noise
        "&amp; &eacute; are entities",
    ],
)
def test_sound_text_is_the_same_object(text: str) -> None:
    assert repair_text(text) is text


@st.composite
def sentences_of_one_script(draw: st.DrawFn) -> list[str]:
    letters = draw(st.sampled_from(SCRIPTS))
    words = draw(st.lists(st.text(letters, min_size=1, max_size=9), max_size=8))
    return [draw(st.sampled_from(OPENING_MARKS)) + word for word in words]


@given(sentences_of_one_script())
@settings(max_examples=300)
def test_words_of_one_script_are_never_repaired(words: list[str]) -> None:
    for text in (" ".join(words), " ".join(word.title() for word in words)):
        assert repair_text(text) is text


@given(st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=3), st.integers(0, 20))
@settings(max_examples=100)
def test_cleaning_broken_text_with_hidden_characters_between_leaves_nothing_to_do(parts: list[str], at: int) -> None:
    broken = misread(" ".join(parts))
    cleaned = clean_text(f"{broken[:at]}\u200b{broken[at:]}", Cleaning(), fix_lookalikes=True)
    assert clean_text(cleaned, Cleaning(), fix_lookalikes=True) is cleaned


def test_a_row_is_repaired_in_messages_calls_and_tools_and_the_ledger_names_it() -> None:
    call = ToolCall(function=FunctionCall(name="book", arguments=json.dumps({"city": misread("Málaga"), "n": [2]})))
    plain = ToolCall(function=FunctionCall(name="book", arguments=json.dumps({"city": "Berlin \\u00c3"})))
    row = Row(
        id="r",
        messages=(
            Message(role="user", content=misread("à Málaga")),
            Message(role="assistant", tool_calls=(call, plain)),
        ),
        tools=({"function": {"name": "book", "description": misread("Réserver")}},),
    )
    [outcome] = PLUGIN.apply([row], Config(), {})
    assert isinstance(outcome, Changed)
    assert outcome.before == row
    assert outcome.row.messages[0].text == "à Málaga"
    first, second = outcome.row.messages[1].tool_calls
    assert json.loads(first.function.arguments) == {"city": "Málaga", "n": [2]}
    assert second == plain
    assert outcome.row.tools[0]["function"]["description"] == "Réserver"
    assert outcome.reasons == ("mojibake",)
    assert outcome.detail == {"characters": {"mojibake": 3}}


def test_arguments_that_are_not_json_are_cleaned_as_text() -> None:
    call = ToolCall(function=FunctionCall(name="book", arguments="{\\u00e9: " + misread("é")))
    row = Row(id="r", messages=(Message(role="assistant", tool_calls=(call,)),))
    [outcome] = PLUGIN.apply([row], Config(), {})
    assert outcome.row.messages[0].tool_calls[0].function.arguments == "{\\u00e9: é"


def test_repair_can_be_switched_off() -> None:
    row = make_row("", name="r").model_copy(
        update={"messages": (Message(role="user", content="caf\u00c3\u00a9"), Message(role="assistant", content="x"))}
    )
    assert isinstance(next(PLUGIN.apply([row], Config(repair=False), {})), Kept)
    assert isinstance(next(PLUGIN.apply([row], Config(), {})), Changed)
