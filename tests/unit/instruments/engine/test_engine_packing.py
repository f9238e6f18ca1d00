"""Packing: every row whole in one pack, shared beginnings once, weights summed, nothing dependent on the order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.foundation.core.errors import DataError
from luthier.instruments.engine.packing import PackedBatch, pack_rows
from luthier.instruments.engine.segments import Forest, Segment
from luthier.instruments.text.encode import EncodedRow


def _row(name: str, ids: list[int], trained: set[int] | None = None) -> EncodedRow:
    weights_T = np.zeros(len(ids), dtype=np.float32)
    weights_T[sorted(trained if trained is not None else {len(ids) - 1})] = 1.0
    return EncodedRow(id=name, token_ids_T=np.array(ids, dtype=np.int32), weights_T=weights_T)


def _spell(batch: PackedBatch) -> set[tuple[int, ...]]:
    """Spell out every path from a root to a segment that none continues."""
    forest = batch.forest
    spelled = set()
    for index in range(len(forest)):
        path = [*forest.ancestors(index), index]
        ids = [batch.input_ids_N[forest.starts[s] : forest.ends[s]].tolist() for s in path]
        spelled.add(tuple(token for part in ids for token in part))
    return spelled


@st.composite
def row_sets(draw: st.DrawFn) -> list[EncodedRow]:
    """Rows grown from one another, so that they share beginnings of every length."""
    texts = [draw(st.lists(st.integers(0, 3), min_size=2, max_size=12))]
    for _ in range(draw(st.integers(0, 9))):
        origin = draw(st.sampled_from(texts))
        kept = origin[: draw(st.integers(0, len(origin)))]
        texts.append((kept + draw(st.lists(st.integers(0, 3), min_size=2, max_size=9)))[:20])
    rows = []
    for index, text in enumerate(texts):
        trained = draw(st.sets(st.integers(1, len(text) - 1), max_size=len(text)))
        rows.append(_row(f"row-{index}", text, trained))
    return rows


@settings(max_examples=150, deadline=None)
@given(rows=row_sets(), pack_tokens=st.integers(4, 60), shortest=st.integers(1, 5), depth=st.integers(1, 4))
def test_packs_hold_every_row_and_every_target(
    rows: list[EncodedRow], pack_tokens: int, shortest: int, depth: int
) -> None:
    packs = pack_rows(rows, pack_tokens=pack_tokens, min_shared_tokens=shortest, max_depth=depth, merge_targets=False)
    assert sum(pack.num_rows for pack in packs) == len(rows)
    assert sum(pack.num_row_tokens for pack in packs) == sum(len(row.token_ids_T) for row in rows)
    spelled = {text for pack in packs for text in _spell(pack)}
    assert all(tuple(row.token_ids_T.tolist()) in spelled for row in rows)
    for pack in packs:
        assert pack.forest.depth <= depth
        assert pack.num_rows == 1 or pack.forest.num_tokens <= pack_tokens
        assert pack.forest.num_tokens <= pack.num_row_tokens
    for index, row in enumerate(rows):
        found = [
            (int(pack.position_ids_N[source]) + 1, int(target), float(weight))
            for pack in packs
            for source, target, weight, owner in zip(
                pack.source_positions_M, pack.target_ids_M, pack.weights_M, pack.row_of_target_M, strict=True
            )
            if int(owner) == index
        ]
        trained = np.flatnonzero(row.weights_T)
        assert found == [(int(t), int(row.token_ids_T[t]), 1.0) for t in trained]


@settings(max_examples=100, deadline=None)
@given(rows=row_sets(), pack_tokens=st.integers(4, 60))
def test_merged_targets_keep_the_sum_of_weights_at_every_source(rows: list[EncodedRow], pack_tokens: int) -> None:
    def total(merge: bool) -> dict[tuple[int, ...], float]:
        sums: dict[tuple[int, ...], float] = {}
        packs = pack_rows(rows, pack_tokens=pack_tokens, min_shared_tokens=2, merge_targets=merge)
        for number, pack in enumerate(packs):
            for source, target, weight in zip(pack.source_positions_M, pack.target_ids_M, pack.weights_M, strict=True):
                key = (number, int(source), int(target))
                sums[key] = sums.get(key, 0.0) + float(weight)
        return sums

    assert total(merge=True) == pytest.approx(total(merge=False))


def test_a_system_prompt_over_prompts_over_answers_becomes_three_levels() -> None:
    system, first, second = list(range(20)), list(range(30, 50)), list(range(60, 80))
    rows = [_row(f"r{i}", system + prompt + [100 + i]) for i, prompt in enumerate((first, first, second, second))]
    (pack,) = pack_rows(rows, pack_tokens=1000)
    assert pack.forest.parents == (-1, 0, 1, 1, 0, 4, 4)
    assert pack.forest.lengths == (20, 20, 1, 1, 20, 1, 1)
    assert pack.forest.num_tokens == 64
    assert pack.position_ids_N.tolist() == [*range(40), 40, 40, *range(20, 40), 40, 40]
    # the first token of an answer is predicted at its prompt's last position
    assert pack.source_positions_M.tolist() == [39, 39, 61, 61]


def test_the_depth_goes_to_the_levels_that_save_most() -> None:
    """Two levels allowed; sharing the 2-token head of all saves 6 tokens, sharing each pair's 30 saves 60."""
    head = [1, 2]
    rows = [_row(f"r{i}", head + [10 + i // 2] * 28 + [100 + i, i]) for i in range(4)]
    (pack,) = pack_rows(rows, pack_tokens=1000, min_shared_tokens=2, max_depth=2)
    assert pack.forest.lengths == (30, 2, 2, 30, 2, 2)


def test_beginnings_shorter_than_the_threshold_are_written_out() -> None:
    rows = [_row("a", [1, 2, 3, 4]), _row("b", [1, 2, 3, 5])]
    (pack,) = pack_rows(rows, pack_tokens=100, min_shared_tokens=4)
    assert pack.forest.parents == (-1, -1)
    (shared,) = pack_rows(rows, pack_tokens=100, min_shared_tokens=3)
    assert shared.forest.lengths == (3, 1, 1)


def test_a_row_that_is_there_twice_is_computed_once_and_counts_twice() -> None:
    ids = list(range(30))
    (pack,) = pack_rows([_row("a", ids), _row("b", ids)], pack_tokens=100)
    assert pack.forest.lengths == (30,)
    assert pack.weights_M.tolist() == [2.0]
    assert pack.num_rows == 2


def test_a_row_longer_than_a_pack_gets_its_own() -> None:
    rows = [_row("short", [1, 2, 3]), _row("long", list(range(5, 55))), _row("other", [60, 61])]
    sizes = sorted(pack.forest.num_tokens for pack in pack_rows(rows, pack_tokens=20))
    assert sizes == [2, 3, 50] or sizes == [5, 50]


def test_thousands_of_nested_beginnings_are_packed_without_recursion_errors() -> None:
    rows = [_row(f"r{i}", list(range(20 * i + 20))) for i in range(300)]
    packs = pack_rows(rows, pack_tokens=100_000)
    assert sum(pack.num_rows for pack in packs) == 300


def test_the_order_of_rows_changes_no_pack() -> None:
    rows = [_row(f"r{i}", [i % 3] * 20 + [50 + i]) for i in range(9)]
    one = pack_rows(rows, pack_tokens=60)
    other = pack_rows(rows[::-1], pack_tokens=60)
    assert [pack.input_ids_N.tolist() for pack in one] == [pack.input_ids_N.tolist() for pack in other]


def test_without_sharing_rows_stay_in_their_order() -> None:
    rows = [_row("a", [9] * 20 + [1]), _row("b", [9] * 20 + [2])]
    (pack,) = pack_rows(rows, pack_tokens=100, share_prefixes=False)
    assert pack.forest.lengths == (21, 21)
    assert pack.forest.parents == (-1, -1)


@pytest.mark.parametrize("ids", [[], [4, 5]], ids=["empty", "first token trained"])
def test_a_row_whose_first_token_is_trained_is_refused(ids: list[int]) -> None:
    row = EncodedRow("bad-row", np.array(ids, dtype=np.int32), np.ones(len(ids), dtype=np.float32))
    with pytest.raises(DataError) as caught:
        pack_rows([row], pack_tokens=10)
    problem = caught.value.problems[0]
    assert problem.code == "E-ENG-006"
    assert "bad-row" in problem.got
    assert problem.fix
    assert problem.allowed


def test_segments_must_tile_the_stream() -> None:
    for broken in ([Segment(0, 2), Segment(3, 4)], [Segment(0, 0)], [Segment(0, 2, 0)], [Segment(1, 2)]):
        with pytest.raises(ValueError, match="tile"):
            Forest.of(*broken)
    assert Forest.of() == Forest.of_lengths()
    lengths = (3, 1, 2)
    forest = Forest.of_lengths(*lengths)
    assert [end - start for start, end in zip(forest.starts, forest.ends, strict=True)] == list(lengths)
    assert forest.depth == 1
