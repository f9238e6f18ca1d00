"""Laws of statistics and metrics that hold for any scores."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from luthier.foundation.schema.rows import FunctionCall, Message
from luthier.instruments.measure.calls import calls_agree
from luthier.instruments.measure.metric import Item
from luthier.instruments.measure.metrics import token_f1
from luthier.instruments.measure.stats.intervals import wilson
from luthier.instruments.measure.stats.multiplicity import holm
from luthier.instruments.measure.stats.paired import sample_of_scores, sum_by_cluster
from luthier.instruments.measure.stats.permutation import sign_flip_test

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
CALLS = st.lists(
    st.builds(
        lambda name, arguments: FunctionCall(name=name, arguments=json.dumps(arguments)),
        st.sampled_from(["f", "g"]),
        st.dictionaries(st.text(max_size=3), JSON, max_size=3),
    ),
    max_size=4,
)


@given(st.integers(0, 300), st.integers(1, 300))
def test_wilson_holds_the_rate_and_stays_within_zero_and_one(successes: int, n: int) -> None:
    successes = min(successes, n)
    interval = wilson(successes, n)
    assert 0.0 <= interval.low <= successes / n <= interval.high <= 1.0


@given(st.lists(st.integers(-3, 3), max_size=40))
def test_the_two_one_sided_p_values_overlap_in_the_observed_sum(differences: list[int]) -> None:
    """P(T >= t) + P(T <= t) = 1 + P(T = t) >= 1, and doubling the smaller bounds the two-sided p."""
    values = np.array(differences, dtype=float)
    up, down = sign_flip_test(values, seed=0), sign_flip_test(-values, seed=0)
    assert up.p_greater + down.p_greater >= 1 - 1e-12
    assert abs(up.p_two_sided - min(1.0, 2 * min(up.p_greater, down.p_greater))) < 1e-9


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_lowers_a_p_and_keeps_their_order(p_values: list[float]) -> None:
    corrected = holm(p_values)
    assert all(after >= before for before, after in zip(p_values, corrected, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert np.all(np.diff(np.array(corrected)[order]) >= 0)


@given(st.lists(st.tuples(st.floats(0, 1), st.sampled_from("abc")), min_size=1, max_size=30))
def test_sums_by_cluster_keep_the_total(rows: list[tuple[float, str]]) -> None:
    totals = sample_of_scores([score for score, _ in rows]).totals
    sums = sum_by_cluster(totals, [cluster for _, cluster in rows])
    assert np.allclose(sums.sum(axis=0), totals.sum(axis=0))
    assert len(sums) == len({cluster for _, cluster in rows})


@given(CALLS, st.randoms())
def test_calls_agree_with_themselves_in_any_order(calls: list[FunctionCall], random: object) -> None:
    shuffled = list(calls)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert calls_agree(calls, shuffled, is_relaxed=False)
    assert calls_agree(calls, shuffled, is_relaxed=True)


@given(CALLS, CALLS)
def test_agreement_of_calls_does_not_depend_on_who_is_the_reference(
    one: list[FunctionCall], two: list[FunctionCall]
) -> None:
    assert calls_agree(one, two, is_relaxed=True) == calls_agree(two, one, is_relaxed=True)


@given(st.text(max_size=30), st.text(max_size=30))
def test_token_f1_is_symmetric_and_one_on_itself(one: str, two: str) -> None:
    def score(reference: str, answer: str) -> float:
        return token_f1.PLUGIN.score(Item(Message(role="assistant", content=reference), answer), token_f1.Config())

    assert score(one, one) == 1.0
    assert score(one, two) == score(two, one)
    assert 0.0 <= score(one, two) <= 1.0
