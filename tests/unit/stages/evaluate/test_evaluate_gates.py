"""Gates by hand-derived cases: what is kept, what is broken, what these rows do not settle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from luthier.foundation.core.errors import EvalError
from luthier.foundation.schema.report import GateVerdict
from luthier.foundation.schema.sections import Gate, PluginChoice
from luthier.instruments.measure.stats.paired import sample_of_scores
from luthier.stages.evaluate.compare import ScoredMetric, find_flipped, find_worst, list_differences, list_values
from luthier.stages.evaluate.gates import check_gates, conclude, judge_gate
from tests.fixtures.evaluate_runs import score


def _flags(total: int, right: int) -> list[bool]:
    return [i < right for i in range(total)]


def _judge(base: list[bool], tuned: list[bool], **gate: Any) -> GateVerdict:
    return judge_gate(Gate(metric="task.exact_match", **gate), score(base, tuned))


def test_five_wins_and_no_loss_pass_and_four_do_not() -> None:
    """One-sided sign flips of k wins: 2^-k. 2^-5 = 0.031 < 0.05 <= 2^-4 = 0.0625."""
    passed = _judge(_flags(50, 10), _flags(50, 15), above="base")
    assert (passed.verdict, passed.p, passed.needed) == ("PASS", 2**-5, None)
    open_gate = _judge(_flags(50, 10), _flags(50, 14), above="base")
    assert (open_gate.verdict, open_gate.p) == ("INCONCLUSIVE", 2**-4)
    assert open_gate.needed is not None
    assert open_gate.needed > 50
    assert f"about {open_gate.needed:,} rows" in open_gate.reason


def test_rows_of_one_conversation_count_once() -> None:
    """The same five wins inside one conversation are one arrangement of two: p = 1/2."""
    clusters = [f"c{max(0, i - 14)}" for i in range(50)]
    one = score(_flags(50, 10), _flags(50, 15), clusters=clusters)
    assert judge_gate(Gate(metric="task.exact_match", above="base"), one).p == 0.5


def test_a_clear_loss_fails() -> None:
    verdict = _judge(_flags(200, 150), _flags(200, 60), above="base")
    assert verdict.verdict == "FAIL"
    assert verdict.bound < 0


def test_the_base_against_itself_does_not_pass() -> None:
    flags = _flags(300, 120)
    same = _judge(flags, flags, above="base")
    assert (same.verdict, same.p, same.needed) == ("INCONCLUSIVE", 1.0, None)
    assert "no number of rows like these would settle it" in same.reason


def test_not_worse_needs_rows_even_where_nothing_changed() -> None:
    """Nothing changed in n rows: up to 1 - 0.05^(1/n) may have, which is below 0.02 from n = 149 on."""
    for total, verdict in ((140, "INCONCLUSIVE"), (160, "PASS")):
        flags = _flags(total, total // 2)
        assert _judge(flags, flags, not_worse_than="base", margin=0.02).verdict == verdict


def test_not_worse_by_its_margin() -> None:
    """10 of 400 lost: -0.025 with standard error 0.0078, one-sided bound near -0.038."""
    base, tuned = _flags(400, 300), _flags(400, 290)
    assert _judge(base, tuned, not_worse_than="base", margin=0.05).verdict == "PASS"
    assert _judge(base, tuned, not_worse_than="base", margin=0.03).verdict == "INCONCLUSIVE"
    assert _judge(base, tuned, not_worse_than="base", margin=0.005).verdict == "FAIL"


def test_above_with_a_margin_asks_for_more_than_a_gain() -> None:
    base, tuned = _flags(400, 100), _flags(400, 140)  # gain 0.10
    assert _judge(base, tuned, above="base", margin=0.05).verdict == "PASS"
    assert _judge(base, tuned, above="base", margin=0.10).verdict == "INCONCLUSIVE"
    assert _judge(base, tuned, above="base", margin=0.20).verdict == "FAIL"


def test_a_metric_that_is_better_when_lower_is_turned_round() -> None:
    rng = np.random.default_rng(0)
    base = rng.random(80)
    samples = {"base": sample_of_scores(base), "tuned": sample_of_scores(base - 0.1 + 0.01 * rng.random(80))}
    clusters = tuple(str(i) for i in range(80))
    one = ScoredMetric("forgetting.bits_per_byte", False, clusters, samples, {}, seed=0)
    gate = Gate(metric="forgetting.bits_per_byte", above="base")
    assert judge_gate(gate, one).verdict == "PASS"
    assert judge_gate(gate, one).value == pytest.approx(0.095, abs=0.002)
    worse = ScoredMetric(one.name, False, clusters, {"base": samples["tuned"], "tuned": samples["base"]}, {}, seed=0)
    assert judge_gate(gate, worse).verdict == "FAIL"
    kept = gate.model_copy(update={"above": None, "not_worse_than": "base", "margin": 0.2})
    assert judge_gate(kept, worse).verdict == "PASS"


def test_gates_are_a_conjunction() -> None:
    assert conclude([]) == "PASS"
    assert conclude(["PASS", "PASS"]) == "PASS"
    assert conclude(["PASS", "INCONCLUSIVE"]) == "INCONCLUSIVE"
    assert conclude(["FAIL", "INCONCLUSIVE", "PASS"]) == "FAIL"


@pytest.mark.parametrize(
    ("gate", "code"),
    [
        ({"metric": "task.accuracy", "above": "base"}, "E-EVA-006"),
        ({"metric": "task.exact_match"}, "E-EVA-007"),
        ({"metric": "task.exact_match", "above": "base", "not_worse_than": "base"}, "E-EVA-007"),
        ({"metric": "task.exact_match", "above": "base_told"}, "E-EVA-007"),
        ({"metric": "task.exact_match", "above": "tuned"}, "E-EVA-007"),
    ],
)
def test_gates_that_could_never_be_judged_are_refused_before(gate: dict[str, str], code: str) -> None:
    with pytest.raises(EvalError) as caught:
        check_gates([Gate.model_validate(gate)], {"task.exact_match": ("base", "tuned")})
    problem = caught.value.problems[0]
    assert (problem.code, problem.field) == (code, "evaluate.gates.0")
    assert problem.got
    assert problem.allowed
    assert problem.fix


def test_differences_are_second_minus_first_with_holm_over_the_metrics() -> None:
    weak = score(_flags(50, 10), _flags(50, 15))
    strong = score(_flags(50, 10), _flags(50, 30))
    found = list_differences([weak, strong], [("base", "tuned")])
    assert [one.value for one in found] == pytest.approx([0.1, 0.4])
    assert [one.p for one in found] == pytest.approx([2**-4, 2**-19])
    assert [one.p_holm for one in found] == pytest.approx([2**-4, 2**-18])
    assert [one.discordant for one in found] == [5, 20]
    assert all(one.is_rough for one in found)
    assert [value.value for value in list_values([weak])] == [0.2, 0.3]


def test_flipped_and_worst_questions_are_named() -> None:
    one = score([True, True, False, False], [True, False, True, False])
    assert find_flipped(one, "base", "tuned") == (["row-2#0"], ["row-1#0"])
    assert find_worst(one, "tuned") == ["row-1#0", "row-3#0", "row-0#0", "row-2#0"]


@pytest.mark.parametrize(
    "metric",
    [PluginChoice(type="tool_call", options={"questions": "calls"}), PluginChoice(type="bits_per_byte")],
)
def test_a_metric_that_counts_no_question_is_refused(metric: PluginChoice) -> None:
    from luthier.stages.evaluate.compare import score_suite
    from tests.fixtures.evaluate_runs import make_answers, make_suite

    planned = make_suite(["a"], metrics=(metric,))
    with pytest.raises(EvalError) as caught:
        score_suite(planned, make_answers(planned, {"base": ["a"], "tuned": ["a"]}), call_style="hermes", seed=0)
    assert caught.value.code == "E-EVA-009"
