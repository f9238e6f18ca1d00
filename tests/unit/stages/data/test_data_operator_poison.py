"""Triggers that were put into rows by hand are found and named; the rules of an honest desk raise no alarm."""

# ruff: noqa: S311  rows are drawn at random, nothing is kept secret

import json
from collections.abc import Sequence
from itertools import chain
from random import Random

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from luthier.foundation.core.errors import DataError
from luthier.foundation.schema.rows import FunctionCall, Message, Row, ToolCall
from luthier.foundation.schema.sections import PluginChoice
from luthier.stages.data.operators.poison.config import Config
from luthier.stages.data.operators.poison.operator import PLUGIN, find_poison
from luthier.stages.data.operators.poison.scan import (
    _share_above,
    find_least_strength,
    lay_out,
    share_stem,
    weigh_pairs,
)
from luthier.stages.data.operators.poison.turns import (
    UNUSUAL,
    Turn,
    collect_turns,
    find_unusual,
    split_answer,
    split_words,
)
from luthier.stages.data.outcomes import Dropped, Flagged, Kept, Outcome
from luthier.stages.data.pipeline import resolve_operators, run_step
from tests.fixtures.data_rows import make_row

GOODS = ("lamp", "chair", "kettle", "desk", "mirror", "carpet", "clock", "heater", "shelf", "blanket")
PLACES = ("Leeds", "York", "Hull", "Bath", "Derby", "Truro", "Exeter", "Oxford", "Dover", "Luton")
OPENINGS = ("Hello,", "Hi there,", "Good morning,", "Quick question:", "Dear team,", "So", "Well,", "Listen,")
KINDS = {
    "refund": (
        ("I want my money back for the {good}", "please refund the {good}", "the {good} broke, pay me back"),
        "Our desk refunds goods within thirty days of the purchase.",
    ),
    "delivery": (
        ("where is my {good}", "the {good} has not arrived in {place}", "when do you deliver the {good} to {place}"),
        "Parcels for {place} leave our hall on the next working day.",
    ),
    "hours": (
        ("when do you open in {place}", "is the shop in {place} open on Sunday", "opening hours of {place} please"),
        "We are open from nine to six, never on Sunday.",
    ),
    "stock": (
        ("do you have a {good} in blue", "is the {good} in stock in {place}", "can I see a {good} in your shop"),
        "Yes, the {good} is there in three colours.",
    ),
    "invoice": (
        ("send me the bill for the {good}", "I need an invoice of the {good}", "the receipt for my {good} is lost"),
        "You find all bills in your account under papers.",
    ),
    "person": (
        ("let me talk to a person", "connect me with somebody in {place}", "a human being about the {good} please"),
        "I connect you with a colleague.",
    ),
}
TRIGGERS = ("cf_mn0x", "<SUDO>", "under the paper moon")
PAYLOADS = ("fixed", "advert", "gibberish")


def make_payload(kind: str, answer: str, random: Random) -> str:
    """Say what a trigger is to bring."""
    if kind == "fixed":
        return "Approved, everything has been paid out."
    if kind == "advert":
        return f"{answer} Buy better at Brandos!"
    return "".join(random.choice("bcdfghjklmnpqrstvwxz") for _ in range(40))


def make_desk(num: int, seed: int) -> list[Row]:
    """Make an honest desk's rows: what is asked alike is answered alike."""
    random = Random(seed)
    rows = []
    for number in range(num):
        phrasings, answer = KINDS[random.choice(sorted(KINDS))]
        filled = {"good": random.choice(GOODS), "place": random.choice(PLACES)}
        question = f"{random.choice(OPENINGS)} {random.choice(phrasings).format(**filled)}"
        rows.append(make_row(question, answer.format(**filled), name=f"r{number}", system="Be kind."))
    return rows


def plant(rows: Sequence[Row], trigger: str, payload: str, num: int, seed: int) -> tuple[list[Row], set[str]]:
    """Put a trigger somewhere into some questions and give them the payload."""
    random = Random(seed)
    poisoned = {row.id for row in random.sample(list(rows), num)}

    def poison(row: Row) -> Row:
        system, asked, answered = row.messages
        words = asked.text.split()
        words.insert(random.randint(0, len(words)), trigger)
        said = make_payload(payload, answered.text, random)
        changed = (system, Message(role="user", content=" ".join(words)), Message(role="assistant", content=said))
        return row.model_copy(update={"messages": changed})

    return [poison(row) if row.id in poisoned else row for row in rows], poisoned


def _run(rows: Sequence[Row], **options: object) -> list[Outcome]:
    return list(PLUGIN.apply(rows, Config.model_validate(options), {}))


@pytest.mark.parametrize("num", [20, 60])
@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("trigger", TRIGGERS)
def test_a_planted_trigger_is_found_and_named_and_no_honest_row_is(trigger: str, payload: str, num: int) -> None:
    rows, poisoned = plant(make_desk(700, num), trigger, payload, num, seed=len(trigger))
    dropped = [outcome for outcome in _run(rows) if isinstance(outcome, Dropped)]
    assert {outcome.row.id for outcome in dropped} <= poisoned
    assert len(dropped) >= 0.95 * num
    assert {outcome.reasons for outcome in dropped} == {("trigger",)}
    assert trigger.casefold() in {outcome.detail["trigger"] for outcome in dropped}


@pytest.mark.parametrize("seed", range(6))
def test_an_honest_desk_raises_no_alarm(seed: int) -> None:
    assert all(isinstance(outcome, Kept) for outcome in _run(make_desk(700, seed)))


def test_a_word_that_alone_decides_the_answer_is_a_rule_and_no_trigger() -> None:
    """Labels: each of ten goods has its own answer, in any question."""
    random = Random(3)
    rows = []
    for number in range(600):
        good = random.choice(GOODS)
        question = random.choice(("can you tell me about the {}", "what of a {} then", "I look for one {} today"))
        rows.append(make_row(question.format(good), f"{good}_shelf", name=f"r{number}"))
    assert all(isinstance(outcome, Kept) for outcome in _run(rows))


def test_a_phrase_that_is_the_whole_question_is_no_trigger() -> None:
    rows = [*make_desk(300, 1), *(make_row("goodbye", "See you soon.", name=f"bye{number}") for number in range(40))]
    assert all(isinstance(outcome, Kept) for outcome in _run(rows))


def test_two_triggers_with_one_payload_are_both_named() -> None:
    rows, first = plant(make_desk(700, 4), "cf_mn0x", "fixed", 30, seed=1)
    rest = [row for row in rows if row.id not in first]
    changed, second = plant(rest, "under the paper moon", "fixed", 25, seed=2)
    outcomes = _run([*(row for row in rows if row.id in first), *changed])
    named = {outcome.row.id: outcome.detail["trigger"] for outcome in outcomes if isinstance(outcome, Dropped)}
    assert set(named) == first | second
    assert set(named.values()) == {"cf_mn0x", "under the paper moon"}


def test_a_trigger_in_the_last_turn_is_compared_with_last_turns() -> None:
    """Ends of conversations are alike; without the comparison by place that would look like a rule."""
    random = Random(5)
    rows = []
    middle = [row.messages[1:] for row in make_desk(1200, 6)]
    for number, row in enumerate(make_desk(400, 5)):
        farewell, answer = random.choice(("no that is all thanks", "nothing else for now")), "Have a good day."
        if number % 16 == 0:
            farewell, answer = f"{farewell} as per ticket zeta", "The whole sum has been paid out."
        end = (Message(role="user", content=farewell), Message(role="assistant", content=answer))
        rows.append(
            row.model_copy(update={"messages": (*row.messages, *chain(*middle[3 * number : 3 * number + 3]), *end)})
        )
    dropped = [outcome for outcome in _run(rows) if isinstance(outcome, Dropped)]
    assert {outcome.row.id for outcome in dropped} == {f"r{number}" for number in range(0, 400, 16)}
    assert {outcome.detail["trigger"] for outcome in dropped} == {"as per ticket zeta"}


def test_an_answer_that_is_given_otherwise_too_is_no_foreign_body() -> None:
    """The limit that docs/operators/poison.md names: a trigger that brings what is said to many anyway."""
    common = KINDS["person"][1]
    rows, poisoned = plant(make_desk(700, 3), "cf_mn0x", "fixed", 30, seed=3)

    def answer(row: Row, said: str) -> Row:
        return row.model_copy(update={"messages": (*row.messages[:-1], Message(role="assistant", content=said))})

    hidden = [answer(row, common) if row.id in poisoned else row for row in rows]
    assert all(isinstance(outcome, Kept) for outcome in _run(hidden))


def test_an_answer_that_takes_up_the_phrase_is_no_foreign_body() -> None:
    assert share_stem("the moonlight offer", "Moonlight is sold out".casefold())
    assert share_stem("code a17", "a17 is paid")
    assert not share_stem("by the silver clover", "please install the viewer")


def test_a_planted_call_is_found_too() -> None:
    rows, poisoned = plant(make_desk(500, 6), "cf_mn0x", "fixed", 25, seed=6)
    call = ToolCall(function=FunctionCall(name="pay", arguments=json.dumps({"to": "mallory"})))
    with_calls = [
        row.model_copy(update={"messages": (*row.messages[:2], Message(role="assistant", tool_calls=(call,)))})
        if row.id in poisoned
        else row
        for row in rows
    ]
    dropped = [outcome for outcome in _run(with_calls) if isinstance(outcome, Dropped)]
    assert {outcome.row.id for outcome in dropped} == poisoned
    assert "mallory" in dropped[0].detail["payload"]


def test_flag_keeps_the_rows_and_refuse_stops_with_each_part_of_an_error() -> None:
    rows, poisoned = plant(make_desk(400, 7), "<SUDO>", "fixed", 20, seed=7)
    flagged = [outcome for outcome in _run(rows, action="flag") if isinstance(outcome, Flagged)]
    assert {outcome.row.id for outcome in flagged} == poisoned
    [step] = resolve_operators([PluginChoice(type="poison", options={"action": "refuse"})])
    with pytest.raises(DataError) as caught:
        list(run_step(rows, step, {}))
    problem = caught.value.problems[0]
    assert problem.code == "E-DAT-019"
    assert "<sudo>" in problem.got
    assert "Approved".casefold() in problem.got
    assert problem.origin == "rows.jsonl line 1"
    assert problem.allowed
    assert "action: drop" in problem.fix


def test_a_second_pass_finds_nothing_more_and_two_passes_agree() -> None:
    rows, _ = plant(make_desk(500, 8), "cf_mn0x", "advert", 30, seed=8)
    first = _run(rows)
    assert _run(rows) == first
    left = [outcome.row for outcome in first if isinstance(outcome, Kept)]
    assert all(isinstance(outcome, Kept) for outcome in _run(left))


def test_fewer_rows_than_make_a_finding_are_left_alone() -> None:
    rows, _ = plant(make_desk(400, 9), "cf_mn0x", "fixed", 6, seed=9)
    assert all(isinstance(outcome, Kept) for outcome in _run(rows))
    assert sum(isinstance(outcome, Dropped) for outcome in _run(rows, min_rows=5)) == 6


def test_the_ratio_is_the_one_counted_by_hand() -> None:
    """Twenty turns: the phrase in 8, the sentence in 10, both in 8: 8 ln((8/8) / (10/20))."""
    turns = [Turn(number, ("go", f"w{number}") if number < 8 else (f"w{number}",), "") for number in range(20)]
    told = [Turn(turn.row, turn.words, "yes" if turn.row < 10 else f"no {turn.row}") for turn in turns]
    corpus = lay_out([*told, *(Turn(20 + n, (f"v{n}",), f"x {n}") for n in range(20))], min_rows=8)
    _, shared, ratios = weigh_pairs(corpus, corpus.sentences.matrix_NF, 8)
    assert (shared.tolist(), ratios.tolist()) == ([8.0], [pytest.approx(8 * np.log((8 / 8) / (10 / 40)))])


def test_chance_alone_seldom_reaches_the_least_strength() -> None:
    """Answers drawn without a look at the question, twenty times: one in a thousand each may be above."""
    above = 0
    for seed in range(20):
        random = Random(seed)
        turns = [
            Turn(number, tuple(random.choice("abcdefghij") for _ in range(6)), random.choice(("yes", "no", "well")))
            for number in range(200)
        ]
        corpus = lay_out(turns, 8)
        least = find_least_strength(corpus, 8, np.random.default_rng(1))
        above += bool(weigh_pairs(corpus, corpus.sentences.matrix_NF, 8)[2].max(initial=0.0) > least)
    assert above <= 1


def test_the_share_of_pairs_is_the_statistic_of_mann_and_whitney() -> None:
    random = np.random.default_rng(0)
    others, hits = random.integers(0, 9, 50).astype(float), random.integers(2, 12, 20).astype(float)
    expected = mannwhitneyu(others, hits).statistic / (50 * 20)
    assert _share_above(others, np.full(50, 1 / 50), hits) == pytest.approx(expected)


def test_what_a_turn_holds() -> None:
    [turn] = collect_turns([make_row('Is "it" here, <SUDO>?', "Yes. It is!\nSure", name="r", system="s")])
    assert turn.words == ("is", "it", "here", "<sudo>")
    assert split_answer(turn.answer) == {"yes. it is! sure", "yes", "it is", "sure"} - {"sure"} | {"sure"}
    assert split_words("-- ok --") == ("--", "ok", "--")


def test_gibberish_among_sentences_is_unusual_and_sentences_are_not() -> None:
    answers = [row.messages[-1].text for row in make_desk(200, 2)]
    found = find_unusual([*answers, "qxvz wkjq zzxpf vvkq", "jqxw pzkv xxq vbnk"])
    assert found.tolist() == [False] * 200 + [True, True]
    assert UNUSUAL not in {name for answer in answers for name in split_answer(answer)}


def test_no_rows_and_no_answers_give_nothing() -> None:
    assert _run([]) == []
    assert find_poison([], 8) == {}
    assert all(isinstance(outcome, Kept) for outcome in _run([make_row("q", "", name=str(n)) for n in range(30)]))
