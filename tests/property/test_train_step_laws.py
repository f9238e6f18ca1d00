"""Rows on their way into steps and packs: none lost, none doubled, the same weights whatever the packs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.instruments.engine.packing import pack_rows
from luthier.instruments.text.batches import count_steps, iterate_steps, order_rows
from luthier.instruments.text.encode import EncodedRow
from luthier.instruments.text.prefixes import count_distinct_tokens

SEEDS = st.integers(0, 2**31)
EPOCHS = st.sampled_from([0.25, 0.5, 1, 1.5, 2, 3])


@st.composite
def encoded_rows(draw: st.DrawFn) -> list[EncodedRow]:
    """Draw rows of few different tokens, so that they share beginnings, with weights on some."""
    rows = []
    for number in range(draw(st.integers(1, 12))):
        ids = draw(st.lists(st.integers(0, 2), min_size=2, max_size=14))
        weights = draw(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=len(ids), max_size=len(ids)))
        weights_T = np.array([0.0, *weights[1:]], dtype=np.float32)
        rows.append(EncodedRow(f"row-{number}", np.array(ids, dtype=np.int32), weights_T))
    return rows


@settings(max_examples=80)
@given(rows=encoded_rows(), batch_tokens=st.integers(1, 60), pack_tokens=st.integers(14, 80), seed=SEEDS, epochs=EPOCHS)
def test_steps_and_their_packs_train_every_target_once_an_epoch(
    rows: list[EncodedRow], batch_tokens: int, pack_tokens: int, seed: int, epochs: float
) -> None:
    """The weight of a run is that of its rows, epoch by epoch; the packs of a step hold the step's weight."""
    lengths = [len(row.token_ids_T) for row in rows]
    total = 0.0
    for step in iterate_steps(lengths, batch_tokens=batch_tokens, epochs=epochs, seed=seed):
        chosen = [rows[place] for place in step.rows]
        packs = pack_rows(chosen, pack_tokens=pack_tokens, min_shared_tokens=2)
        packed = sum(float(pack.weights_M.sum()) for pack in packs)
        assert packed == pytest.approx(sum(float(row.weights_T.sum()) for row in chosen))
        assert sum(pack.num_rows for pack in packs) == len(chosen)
        total += packed
    if float(epochs).is_integer():
        assert total == pytest.approx(epochs * sum(float(row.weights_T.sum()) for row in rows))


@settings(max_examples=80)
@given(rows=encoded_rows(), pack_tokens=st.integers(14, 80))
def test_packs_compute_no_fewer_tokens_than_there_are_beginnings(rows: list[EncodedRow], pack_tokens: int) -> None:
    """No packing can do with less than the distinct beginnings, none needs more than the rows written out."""
    packs = pack_rows(rows, pack_tokens=pack_tokens, min_shared_tokens=1, max_depth=99)
    computed = sum(pack.forest.num_tokens for pack in packs)

    assert count_distinct_tokens([row.token_ids_T for row in rows]) <= computed
    assert computed <= sum(len(row.token_ids_T) for row in rows)


@given(
    texts=st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), min_size=1, max_size=12),
    random=st.randoms(use_true_random=False),
)
def test_distinct_tokens_are_the_nodes_of_the_tree_of_beginnings(texts: list[list[int]], random: object) -> None:
    """Oracle: the set of all beginnings, each a node; the order of texts does not count."""
    beginnings = {tuple(text[: end + 1]) for text in texts for end in range(len(text))}
    shuffled = random.sample(texts, len(texts))  # type: ignore[attr-defined]

    assert count_distinct_tokens([np.array(text) for text in texts]) == len(beginnings)
    assert count_distinct_tokens([np.array(text) for text in shuffled]) == len(beginnings)


@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=40), seed=SEEDS, epochs=EPOCHS)
def test_a_share_of_an_epoch_takes_that_share_of_its_rows(lengths: list[int], seed: int, epochs: float) -> None:
    taken: dict[int, list[int]] = {}
    for step in iterate_steps(lengths, batch_tokens=40, epochs=epochs, seed=seed):
        taken.setdefault(step.epoch, []).extend(step.rows)

    for epoch, found in taken.items():
        share = min(1.0, epochs - epoch)
        assert len(found) == math.ceil(share * len(lengths))
        assert found == order_rows(len(lengths), seed=seed, epoch=epoch)[: len(found)], "in the epoch's order"
    assert len(taken) == math.ceil(epochs)


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=30),
    sizes=st.tuples(st.integers(1, 80), st.integers(1, 80)),
    seed=SEEDS,
)
def test_larger_steps_are_never_more(lengths: list[int], sizes: tuple[int, int], seed: int) -> None:
    small, large = sorted(sizes)
    few = count_steps(lengths, batch_tokens=large, epochs=1, seed=seed)
    many = count_steps(lengths, batch_tokens=small, epochs=1, seed=seed)

    assert few <= many <= len(lengths)
    assert few >= math.ceil(sum(lengths) / max(large, *lengths))


@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=30), seed=SEEDS, epochs=st.integers(1, 3))
def test_more_epochs_begin_with_the_steps_of_fewer(lengths: list[int], seed: int, epochs: int) -> None:
    short = list(iterate_steps(lengths, batch_tokens=50, epochs=epochs, seed=seed))
    long = list(iterate_steps(lengths, batch_tokens=50, epochs=epochs + 1, seed=seed))

    assert long[: len(short)] == short
