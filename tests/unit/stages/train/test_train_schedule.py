"""The learning rate: by hand at its corners, and equal to transformers' own from the end of the warm-up on."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import get_cosine_schedule_with_warmup

from luthier.stages.train.schedule import learning_rate_at


def test_the_warm_up_climbs_in_equal_strides_and_never_stands_at_nothing() -> None:
    """Three warm-up steps climb in four strides: 1/4, 2/4, 3/4, then the peak."""
    rates = [learning_rate_at(step, peak=8.0, warmup_steps=3, num_steps=13) for step in range(4)]
    assert rates == [2.0, 4.0, 6.0, 8.0]


def test_the_cosine_is_at_half_in_the_middle_and_ends_at_nothing() -> None:
    """Ten steps of decay from step 3: cos(pi/2) = 0 at step 8, so half the peak; cos(pi) = -1 at step 13."""
    assert learning_rate_at(8, peak=8.0, warmup_steps=3, num_steps=13) == pytest.approx(4.0)
    assert learning_rate_at(13, peak=8.0, warmup_steps=3, num_steps=13) == pytest.approx(0.0, abs=1e-12)


@given(warmup=st.integers(0, 20), decay=st.integers(1, 50))
def test_from_the_end_of_the_warm_up_on_it_is_the_schedule_of_transformers(warmup: int, decay: int) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=3.0)
    theirs = get_cosine_schedule_with_warmup(optimizer, warmup, warmup + decay).lr_lambdas[0]
    for step in range(warmup, warmup + decay + 1):
        ours = learning_rate_at(step, peak=3.0, warmup_steps=warmup, num_steps=warmup + decay)
        assert ours == pytest.approx(3.0 * theirs(step), rel=1e-12, abs=1e-12)
