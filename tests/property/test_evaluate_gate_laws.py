"""Laws of verdicts: more gain never judges worse, more asked never judges better, PASS never against the numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.foundation.schema.report import Verdict
from luthier.foundation.schema.sections import Gate
from luthier.instruments.measure.stats.paired import sample_of_scores
from luthier.stages.evaluate.compare import ScoredMetric, find_flipped, find_worst
from luthier.stages.evaluate.gates import SEVERITY, conclude, judge_gate

SCORES = st.lists(st.tuples(st.floats(0.05, 0.95), st.floats(0.05, 0.95)), min_size=8, max_size=40)
RULES = st.sampled_from(["above", "not_worse_than"])
MARGINS = st.sampled_from([0.0, 0.02, 0.1, 0.3])
VERDICTS = st.lists(st.sampled_from(["PASS", "FAIL", "INCONCLUSIVE"]), max_size=6)


def make_metric(rows: list[tuple[float, float]], *, shift: float = 0.0, higher_is_better: bool = True) -> ScoredMetric:
    """Make a metric of made-up scores, each row a cluster of its own; ``shift`` is added to every tuned score."""
    names = [f"row-{number}" for number in range(len(rows))]
    scores = {"base": [base for base, _ in rows], "tuned": [tuned + shift for _, tuned in rows]}
    return ScoredMetric(
        "task.token_f1",
        higher_is_better,
        tuple(names),
        {system: sample_of_scores(own) for system, own in scores.items()},
        {system: dict(zip(names, own, strict=True)) for system, own in scores.items()},
        seed=0,
    )


def make_gate(rule: str, margin: float = 0.0) -> Gate:
    return Gate.model_validate({"metric": "task.token_f1", rule: "base", "margin": margin})


@settings(max_examples=40)
@given(rows=SCORES, rule=RULES, margin=MARGINS, shifts=st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5)))
def test_a_greater_gain_on_every_row_is_never_judged_worse(
    rows: list[tuple[float, float]], rule: str, margin: float, shifts: tuple[float, float]
) -> None:
    gate = make_gate(rule, margin)
    less, more = (judge_gate(gate, make_metric(rows, shift=shift)) for shift in sorted(shifts))

    assert SEVERITY[more.verdict] <= SEVERITY[less.verdict]
    assert more.value >= less.value


@settings(max_examples=40)
@given(rows=SCORES, margins=st.tuples(MARGINS, MARGINS))
def test_asking_for_more_is_never_judged_better(rows: list[tuple[float, float]], margins: tuple[float, float]) -> None:
    metric = make_metric(rows)
    small, large = sorted(margins)
    lenient = judge_gate(make_gate("not_worse_than", large), metric)
    strict = judge_gate(make_gate("not_worse_than", small), metric)

    assert SEVERITY[lenient.verdict] <= SEVERITY[strict.verdict]
    if small > 0:  # at 0 the flips decide, not the bound
        modest, greedy = (judge_gate(make_gate("above", margin), metric) for margin in (small, large))
        assert SEVERITY[modest.verdict] <= SEVERITY[greedy.verdict]


@settings(max_examples=60)
@given(rows=SCORES, rule=RULES, margin=MARGINS, shift=st.floats(-0.5, 0.5))
def test_a_verdict_never_contradicts_its_own_numbers(
    rows: list[tuple[float, float]], rule: str, margin: float, shift: float
) -> None:
    found = judge_gate(make_gate(rule, margin), make_metric(rows, shift=shift))
    required = margin if rule == "above" else -margin

    if found.verdict == "PASS":
        assert found.value > required
        assert found.p is not None or found.bound > required, "never with its interval below"
        assert found.p is None or found.p < 0.05
        assert found.needed is None
    if found.verdict == "FAIL":
        assert found.bound < required
        assert found.value < required + 1e-9
        assert found.needed is None
    if found.verdict == "INCONCLUSIVE":
        assert found.needed is None or found.needed > found.n
    assert found.n == len(rows)
    assert f"{found.value:+.4g}" in found.reason


@settings(max_examples=30)
@given(rows=SCORES, rule=RULES, margin=MARGINS)
def test_a_metric_turned_round_gives_the_same_verdict(
    rows: list[tuple[float, float]], rule: str, margin: float
) -> None:
    """A loss is a gain of its negative: the direction of the metric is all that changes."""
    gate = make_gate(rule, margin)
    as_gain = judge_gate(gate, make_metric(rows))
    as_loss = judge_gate(gate, make_metric([(-base, -tuned) for base, tuned in rows], higher_is_better=False))

    assert as_loss.value == pytest.approx(as_gain.value, abs=1e-12)
    assert as_loss.verdict == as_gain.verdict


@settings(max_examples=30)
@given(rows=SCORES)
def test_a_system_against_itself_never_passes_above(rows: list[tuple[float, float]]) -> None:
    same = [(base, base) for base, _ in rows]

    assert judge_gate(make_gate("above"), make_metric(same)).verdict == "INCONCLUSIVE"
    assert judge_gate(make_gate("not_worse_than", 0.1), make_metric(same)).verdict == "PASS"


@given(verdicts=VERDICTS, more=VERDICTS)
def test_promises_are_kept_together_or_not_at_all(verdicts: list[Verdict], more: list[Verdict]) -> None:
    whole = conclude([*verdicts, *more])

    assert SEVERITY[whole] == max([SEVERITY[one] for one in (*verdicts, *more)], default=0)
    assert SEVERITY[whole] >= SEVERITY[conclude(verdicts)]
    assert (whole == "PASS") == (set(verdicts) | set(more) <= {"PASS"})
    assert whole == conclude([*more[::-1], *verdicts[::-1]])


@given(rows=SCORES, higher_is_better=st.booleans())
def test_changed_answers_are_parted_by_direction_and_turn_round_with_the_systems(
    rows: list[tuple[float, float]], higher_is_better: bool
) -> None:
    metric = make_metric(rows, higher_is_better=higher_is_better)
    better, worse = find_flipped(metric, "base", "tuned")
    turned_better, turned_worse = find_flipped(metric, "tuned", "base")

    assert set(better).isdisjoint(worse)
    assert (set(turned_better), set(turned_worse)) == (set(worse), set(better))
    sign = 1 if higher_is_better else -1
    gains = [sign * (metric.scores["tuned"][key] - metric.scores["base"][key]) for key in better]
    assert gains == sorted(gains, reverse=True)
    assert all(gain > 0 for gain in gains)


@given(rows=SCORES, higher_is_better=st.booleans())
def test_the_worst_answers_come_first(rows: list[tuple[float, float]], higher_is_better: bool) -> None:
    metric = make_metric(rows, higher_is_better=higher_is_better)
    scores = np.array([metric.scores["tuned"][key] for key in find_worst(metric, "tuned")])

    assert len(scores) == len(rows)
    assert (np.diff(scores) >= 0).all() if higher_is_better else (np.diff(scores) <= 0).all()
