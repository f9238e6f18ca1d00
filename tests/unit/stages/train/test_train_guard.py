"""The guard stops what will not recover, and lets be what will: by simulation and by hand."""

from __future__ import annotations

import math
from dataclasses import asdict

import numpy as np
import pytest

from luthier.foundation.core.errors import TrainError
from luthier.stages.train.guard import PATIENCE_STEPS, LossGuard


def watch(losses: list[float], guard: LossGuard | None = None) -> int | None:
    """Return the step, from 1, at which the guard stops a curve, or None."""
    guard = guard or LossGuard()
    for step, loss in enumerate(losses, 1):
        try:
            guard.check(step, loss=loss, grad_norm=1.0, learning_rate=0.5, kept="step 4 is kept")
        except TrainError:
            return step
    return None


@pytest.mark.parametrize("seed", range(40))
def test_a_noisy_curve_that_falls_is_never_stopped(seed: int) -> None:
    """Losses of an easy task: from 3 nats to 0.05, log-normal noise of factor 2 on each step."""
    random = np.random.default_rng(seed)
    fall = 0.05 + 2.95 * np.exp(-np.arange(300) / 40)
    assert watch(list(fall * random.lognormal(0.0, 0.7, size=300))) is None


def test_a_spike_that_recovers_is_let_be() -> None:
    assert watch([2.0] * 20 + [12.0] * 2 + [1.9] * 40) is None


def test_a_loss_that_has_left_for_good_is_stopped_soon() -> None:
    """From 2 nats to 9: smoothed, it passes 3 nats with the second bad step, then patience follows."""
    assert watch([2.0] * 20 + [9.0] * 40) == 20 + 1 + PATIENCE_STEPS


def test_being_worse_than_the_best_but_better_than_the_start_is_let_be() -> None:
    assert watch([*[6.0] * 10, *[0.5] * 60, *[5.0] * 60]) is None


def test_a_run_that_diverges_from_its_first_step_is_stopped() -> None:
    assert watch([2.0 + step for step in range(60)]) is not None


@pytest.mark.parametrize(("loss", "grad_norm"), [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan), (1.0, math.inf)])
def test_a_number_that_is_none_stops_at_once_with_the_kept_checkpoint_named(loss: float, grad_norm: float) -> None:
    with pytest.raises(TrainError) as caught:
        LossGuard().check(7, loss=loss, grad_norm=grad_norm, learning_rate=1e-3, kept="step 4 is kept")
    problem = caught.value.problems[0]
    assert problem.code == "E-TRN-001"
    assert "step 7" in problem.what
    assert "step 4 is kept" in problem.what
    assert "train.learning_rate to 1.0e-04" in problem.fix
    assert problem.field == "train.learning_rate"


def test_the_advice_after_divergence_names_a_tenth_of_the_rate() -> None:
    guard = LossGuard()
    stopped = watch([float(step) for step in range(1, 61)], guard)
    assert stopped is not None
    with pytest.raises(TrainError) as caught:
        guard.check(stopped + 1, loss=99.0, grad_norm=1.0, learning_rate=0.5, kept="step 4 is kept")
    problem = caught.value.problems[0]
    assert (problem.code, problem.fix) == ("E-TRN-002", "set train.learning_rate to 5.0e-02")
    assert problem.got.startswith("smoothed loss")


def test_a_guard_that_was_saved_stops_where_the_other_would_have() -> None:
    curve = [2.0] * 20 + [9.0] * 40
    first = LossGuard()
    assert watch(curve[:25], first) is None
    resumed = LossGuard(**asdict(first))
    assert 25 + (watch(curve[25:], resumed) or 0) == watch(curve)


def test_a_run_that_leaves_at_its_second_step_is_stopped_though_its_loss_falls() -> None:
    """The mean of the first steps is no measure of the untrained model then: 2.5 nats, then 4,000 and falling."""
    assert watch([2.5, *(4000.0 * 0.9**step for step in range(40))]) == 1 + PATIENCE_STEPS


def test_a_run_whose_gradient_is_exactly_zero_is_stopped_unless_there_is_nothing_to_learn() -> None:
    """Weights beyond all scale make a norm return zeros: the loss is that of a guess, ln 320, and finite for ever."""
    options = {"grad_norm": 0.0, "learning_rate": 0.5, "kept": "step 4 is kept"}
    with pytest.raises(TrainError) as caught:
        LossGuard().check(7, loss=math.log(320), **options)
    assert (caught.value.code, caught.value.problems[0].fix) == ("E-TRN-002", "set train.learning_rate to 5.0e-02")
    LossGuard().check(7, loss=0.0, **options)
