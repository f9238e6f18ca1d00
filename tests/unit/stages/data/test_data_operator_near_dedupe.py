"""Rows that say nearly the same become one; what only looks alike stays."""

import itertools
import re
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.foundation.schema.rows import FunctionCall, Message, Row, ToolCall
from luthier.stages.data.operators.near_dedupe.candidates import (
    RECALL,
    Signatures,
    draw_functions,
    find_groups,
    plan_bands,
)
from luthier.stages.data.operators.near_dedupe.config import Config
from luthier.stages.data.operators.near_dedupe.operator import PLUGIN, compare_sets, find_matches
from luthier.stages.data.operators.near_dedupe.shingles import shingle_rows
from luthier.stages.data.outcomes import Dropped, Kept
from luthier.stages.data.texts import rank_row
from tests.fixtures.data_rows import make_row

QUESTION = "my parcel should have been here on monday and nobody at the desk can tell me where it is now"
ANSWER = "I am sorry, I look it up for you"


def _kept(rows: Sequence[Row], **options: object) -> list[str]:
    outcomes = PLUGIN.apply(rows, Config.model_validate(options), {})
    return [outcome.row.id for outcome in outcomes if isinstance(outcome, Kept)]


def jaccard(one: Row, other: Row, *, words: int) -> float:
    """Compare two rows by sets of tuples: the oracle, in plain Python."""

    def runs(row: Row) -> tuple[set[object], set[object]]:
        sides: tuple[set[object], set[object]] = (set(), set())
        for message in row.messages:
            if message.role not in {"user", "assistant"}:
                continue
            said = re.findall(r"\w+", message.text.lower())
            side = sides[message.role == "assistant"]
            if said:
                side.update(tuple(said[at : at + words]) for at in range(max(1, len(said) - words + 1)))
        return sides

    (asked, answered), (other_asked, other_answered) = runs(one), runs(other)
    if len(answered & other_answered) < 0.5 * len(answered | other_answered):
        return 0.0
    shared = len(asked & other_asked) + len(answered & other_answered)
    return shared / max(1, len(asked | other_asked) + len(answered | other_answered))


def _draw_rows(seed: int, num: int, *, vocabulary: int = 60) -> list[Row]:
    """Make rows, half of them edits of others: words replaced, dropped, added, swapped."""
    random = np.random.default_rng(seed)
    names = [f"w{''.join(chr(97 + int(digit)) for digit in str(number))}" for number in range(vocabulary)]
    texts: list[list[str]] = []
    for _ in range(num):
        if texts and random.random() < 0.5:
            said = list(texts[random.integers(len(texts))])
            for _ in range(random.integers(0, 4)):
                at = int(random.integers(len(said)))
                said[at : at + int(random.integers(0, 2))] = [str(random.choice(names))] * int(random.integers(0, 2))
                said = said or ["w"]
        else:
            said = [str(word) for word in random.choice(names, size=int(random.integers(1, 30)))]
        texts.append(said)
    return [make_row(" ".join(said), "yes it is so", name=f"r{number}") for number, said in enumerate(texts)]


@pytest.mark.parametrize(
    "changed",
    [
        QUESTION.upper(),
        QUESTION.replace(" ", "  ") + " !",
        f"{QUESTION} please",
        f"{QUESTION} thanks a lot",
        QUESTION.replace("desk", "dekc"),
    ],
)
def test_small_changes_make_a_near_duplicate_and_the_ledger_says_of_what(changed: str) -> None:
    rows = [make_row(QUESTION, ANSWER, name="one"), make_row(changed, ANSWER, name="two")]
    [dropped] = [outcome for outcome in PLUGIN.apply(rows, Config(), {}) if isinstance(outcome, Dropped)]
    kept = "one" if dropped.row.id == "two" else "two"
    assert dropped.reasons == ("near_duplicate",)
    assert dropped.detail["kept"] == kept
    assert dropped.detail["kept_at"] == "rows.jsonl line 1"
    assert dropped.detail["cluster"] == 2
    assert dropped.detail["similarity"] == pytest.approx(jaccard(*rows, words=2), abs=1e-4)


def test_rows_that_differ_in_a_number_teach_to_copy_it() -> None:
    rows = [make_row(f"{QUESTION} order {number}", ANSWER, name=str(number)) for number in (4711, 4712, "a17", "b17")]
    assert len(_kept(rows)) == 4
    assert len(_kept(rows, numbers="ignore")) == 1
    same = [make_row(f"{text} order 4711", ANSWER, name=text) for text in (QUESTION, f"{QUESTION} thanks")]
    assert len(_kept(same)) == 1


def test_the_same_question_with_another_answer_is_another_row() -> None:
    rows = [make_row(QUESTION, label, name=label) for label in ("card_arrival", "lost_or_stolen_card")]
    assert len(_kept(rows)) == 2


def test_a_system_prompt_and_tools_that_all_rows_share_make_no_row_a_duplicate() -> None:
    policy = "Refunds are paid within a month. " * 40
    rows = [
        make_row("where is my parcel", "On its way.", name="one", system=policy),
        make_row("cancel the order please", "Done.", name="two", system=policy),
        make_row("WHERE is my parcel", "on its way", name="three", system="Another policy."),
    ]
    assert len(_kept(rows)) == 2


def test_calls_media_kind_and_label_tell_rows_apart() -> None:
    def make_call(arguments: str) -> Row:
        call = ToolCall(function=FunctionCall(name="find", arguments=arguments))
        messages = (Message(role="user", content=QUESTION), Message(role="assistant", tool_calls=(call,)))
        return Row(id=arguments, messages=messages)

    assert len(_kept([make_call('{"city": "Berlin"}'), make_call('{"town": "Paris"}')])) == 2
    assert len(_kept([make_call('{"city": "Berlin"}'), make_call('{"city":"berlin"}')])) == 1
    question = (Message(role="user", content=QUESTION),)
    good, bad = (Message(role="assistant", content=ANSWER),), (Message(role="assistant", content="No, never."),)
    pair = Row(id="pair", kind="preference", messages=question, chosen=good, rejected=bad)
    turned = pair.model_copy(update={"id": "turned", "chosen": bad, "rejected": good})
    judged = Row(id="yes", kind="judged", messages=question, completion=good, label=True)
    denied = judged.model_copy(update={"id": "no", "label": False})
    again = judged.model_copy(update={"id": "again"})
    assert _kept([pair, turned, judged, denied, again]) == ["pair", "turned", "yes", "no"]


def test_scripts_without_spaces_are_compared_letter_by_letter() -> None:
    text = "注文した商品がまだ届いていませんのでどこにあるか教えてください"
    rows = [make_row(text, "はい", name="one"), make_row(text + "ね", "はい", name="two")]
    assert len(_kept(rows)) == 1
    assert len(_kept([rows[0], make_row("住所を変更したいのですがどうすればいいですか", "はい", name="x")])) == 2


def test_the_best_row_stays_in_any_order() -> None:
    rows = [
        make_row(QUESTION, ANSWER, name="bare"),
        make_row(f"{QUESTION} please", ANSWER, name="labelled", topic="parcel"),
        make_row(f"{QUESTION} thanks", ANSWER, name="longer"),
    ]
    for order in itertools.permutations(rows):
        assert _kept(list(order)) == ["labelled"]


def test_a_chain_of_changes_does_not_drag_its_far_end_along() -> None:
    words = [f"word{chr(97 + number)}" for number in range(26)]
    rows = [make_row(" ".join(words[start : start + 20]), ANSWER, name=str(start)) for start in range(7)]
    outcomes = list(PLUGIN.apply(rows, Config(), {}))
    assert len({outcome.row.id for outcome in outcomes if isinstance(outcome, Kept)}) >= 2
    by_id = {row.id: row for row in rows}
    for outcome in outcomes:
        if isinstance(outcome, Dropped):
            assert jaccard(outcome.row, by_id[outcome.detail["kept"]], words=2) >= 0.8


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("threshold", "words"), [(0.8, 2), (0.6, 1), (0.9, 3)])
def test_the_same_rows_go_as_when_every_pair_is_compared_in_plain_python(
    seed: int, threshold: float, words: int
) -> None:
    """Greedy over all pairs, best row first; signatures may miss a pair, at most one in a hundred."""
    rows = _draw_rows(seed, 150)
    kept: list[Row] = []
    gone: set[str] = set()
    for row in sorted(rows, key=lambda each: (rank_row(each), int(each.id[1:]))):
        if any(jaccard(row, other, words=words) >= threshold for other in kept):
            gone.add(row.id)
        else:
            kept.append(row)
    found = set(_kept(rows, threshold=threshold, words=words))
    missed = gone & found
    assert len(gone) > 20
    assert len(missed) <= max(1, len(gone) // 100)
    if not missed:
        assert found == {row.id for row in kept}


@given(st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_what_stays_does_not_depend_on_the_order_of_rows(seed: int) -> None:
    rows = _draw_rows(seed, 40)
    shuffled = [rows[place] for place in np.random.default_rng(seed).permutation(len(rows))]

    def describe(kept: list[str]) -> list[str]:
        by_id = {row.id: row.messages[0].text for row in rows}
        return sorted(by_id[name] for name in kept)

    assert describe(_kept(rows)) == describe(_kept(shuffled))


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = _draw_rows(5, 90)
    whole = find_matches(rows, Config())
    monkeypatch.setattr("luthier.stages.data.operators.near_dedupe.operator.CHUNK", 7)
    assert find_matches(rows, Config()) == whole
    assert whole


def test_the_hashes_of_runs_agree_with_tuples_of_words() -> None:
    rows = _draw_rows(9, 60)
    shingles = shingle_rows(rows, words=3, has_numbers=False)
    signatures = Signatures(plan_bands(0.8))
    signatures.add(shingles)
    for one, other in itertools.combinations(range(0, 60, 3), 2):
        similarity = compare_sets(signatures.read_sets(one), signatures.read_sets(other))
        assert similarity == pytest.approx(jaccard(rows[one], rows[other], words=3))


@pytest.mark.parametrize("shared", [40, 80, 120])
def test_the_share_of_equal_minima_is_the_jaccard_similarity(shared: int) -> None:
    """Broder's theorem, by simulation: 4,000 functions, so the share's deviation is below 0.008."""
    random = np.random.default_rng(shared)
    drawn = random.choice(2**32, size=320 - shared, replace=False).astype(np.uint32)
    one, other = drawn[:160], drawn[160 - shared :]
    factors, shifts = draw_functions(4000)
    minima = [(each[:, None] * factors + shifts).min(axis=0) for each in (one, other)]
    assert np.mean(minima[0] == minima[1]) == pytest.approx(shared / (320 - shared), abs=0.03)


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.95, 1.0])
def test_bands_find_pairs_at_the_threshold_and_cost_no_more_than_allowed(threshold: float) -> None:
    bands = plan_bands(threshold)
    assert 1 - (1 - threshold**bands.length) ** bands.num >= RECALL
    assert bands.num * bands.length <= 128


def test_groups_hold_rows_that_share_a_key() -> None:
    rows, groups = find_groups(np.array([7, 5, 7, 9, 5, 7, 0, 0], np.uint64))
    members = sorted(sorted(rows[groups == group].tolist()) for group in set(groups.tolist()))
    assert members == [[0, 2, 5], [1, 4]]


def test_rows_without_a_word_are_kept_and_no_rows_give_no_outcome() -> None:
    rows = [make_row("?!", "", name="one"), make_row("...", "", name="two"), Row(id="text", kind="text", text="")]
    assert _kept(rows) == ["one", "two", "text"]
    assert _kept([]) == []
