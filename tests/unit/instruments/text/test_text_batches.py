"""Steps hold every row once an epoch, whole, within the bound."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from luthier.instruments.text.batches import count_steps, iterate_steps, order_rows

LENGTHS = st.lists(st.integers(min_value=1, max_value=50), min_size=1, max_size=60)


@given(lengths=LENGTHS, batch_tokens=st.integers(1, 200), seed=st.integers(0, 2**31), epochs=st.integers(1, 3))
def test_every_epoch_holds_every_row_once(lengths: list[int], batch_tokens: int, seed: int, epochs: int) -> None:
    seen: Counter[tuple[int, int]] = Counter()
    for step in iterate_steps(lengths, batch_tokens=batch_tokens, epochs=epochs, seed=seed):
        seen.update((step.epoch, row) for row in step.rows)
    assert seen == Counter((epoch, row) for epoch in range(epochs) for row in range(len(lengths)))


@given(lengths=LENGTHS, batch_tokens=st.integers(1, 200), seed=st.integers(0, 2**31))
def test_only_a_single_row_may_pass_the_bound(lengths: list[int], batch_tokens: int, seed: int) -> None:
    for step in iterate_steps(lengths, batch_tokens=batch_tokens, epochs=1, seed=seed):
        assert step.num_tokens == sum(lengths[row] for row in step.rows)
        assert step.num_tokens <= batch_tokens or len(step.rows) == 1


def test_half_an_epoch_takes_half_the_rows() -> None:
    steps = list(iterate_steps([10] * 8, batch_tokens=20, epochs=1.5, seed=3))
    assert [len(step.rows) for step in steps] == [2] * 6
    assert [step.epoch for step in steps] == [0, 0, 0, 0, 1, 1]
    assert count_steps([10] * 8, batch_tokens=20, epochs=1.5, seed=3) == 6


def test_epochs_and_seeds_have_their_own_order() -> None:
    first = order_rows(50, seed=1, epoch=0)
    assert sorted(first) == list(range(50))
    assert first == order_rows(50, seed=1, epoch=0)
    assert first != order_rows(50, seed=1, epoch=1)
    assert first != order_rows(50, seed=2, epoch=0)
