"""Tests of the tests: each way in which packed training is known to go wrong breaks its law by far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from luthier.instruments.engine import attention
from luthier.instruments.engine.load import LoadedModel, wrap_model
from luthier.instruments.engine.loss import chunked_nll
from luthier.instruments.engine.methods.full.config import Config as FullConfig
from luthier.instruments.engine.methods.full.method import PLUGIN as FULL
from luthier.instruments.engine.packing import PackedBatch
from luthier.instruments.engine.segments import Forest
from tests.fixtures.engine_laws import double_norms, make_rows, run_packed, run_plain
from tests.fixtures.tiny_models import ARCHITECTURES, make_tiny

VISIBLE = 1e-3  # the laws hold to 1e-10; a mutation must show a million times more


def _load(architecture: str) -> LoadedModel:
    model = make_tiny(architecture, seed=3).double()
    double_norms(model)
    loaded = wrap_model(model)
    FULL.build(loaded, FullConfig(), seed=0)
    return loaded


def _shift_labels(batch: PackedBatch) -> PackedBatch:
    return replace(batch, target_ids_M=batch.input_ids_N[batch.source_positions_M])


def _move_branches(batch: PackedBatch) -> PackedBatch:
    positions_N = batch.position_ids_N.clone()
    for index, parent in enumerate(batch.forest.parents):
        if parent >= 0:
            positions_N[batch.forest.starts[index] : batch.forest.ends[index]] += 1
    return replace(batch, position_ids_N=positions_N)


def _leak_between_siblings(batch: PackedBatch) -> PackedBatch:
    forest = batch.forest
    parents = list(forest.parents)
    family = next(f for f in forest.families if len(f) > 1 and parents[f[0]] >= 0)
    parents[family[1]] = family[0]
    return replace(batch, forest=Forest(forest.starts, forest.ends, tuple(parents)))


def _forget_the_parent(batch: PackedBatch) -> PackedBatch:
    forest = batch.forest
    return replace(batch, forest=Forest(forest.starts, forest.ends, (-1,) * len(forest)))


def _is_shared(batch: PackedBatch) -> torch.Tensor:
    shared = {segment for segment in batch.forest.parents if segment >= 0}
    starts_S = torch.tensor(batch.forest.starts)
    segment_M = torch.searchsorted(starts_S, batch.source_positions_M + 1, right=True) - 1
    return torch.tensor([int(segment) in shared for segment in segment_M])


def _count_shared_once_too_often(batch: PackedBatch) -> PackedBatch:
    return replace(batch, weights_M=torch.where(_is_shared(batch), batch.weights_M * 2, batch.weights_M))


MUTATIONS: dict[str, Callable[[PackedBatch], PackedBatch]] = {
    "labels shifted by one": _shift_labels,
    "positions off by one in branches": _move_branches,
    "a mask that leaks between siblings": _leak_between_siblings,
    "a branch that does not see its prompt": _forget_the_parent,
    "a shared prefix counted once too often": _count_shared_once_too_often,
}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_mutation_breaks_the_law(architecture: str, mutation: str) -> None:
    loaded = _load(architecture)
    rows = make_rows()
    expected = run_plain(loaded, rows)
    assert run_packed(loaded, rows).distance(expected) < 1e-10, "unchanged, the law holds"
    assert run_packed(loaded, rows, change=MUTATIONS[mutation]).distance(expected) > VISIBLE


def test_a_mean_of_means_depends_on_the_split() -> None:
    loaded = _load("llama")
    rows = make_rows(is_weighted=False)

    def mean_of_means(pack_tokens: int) -> float:
        means = []
        for batch in loaded.pack(rows, pack_tokens=pack_tokens):
            hidden_MD = loaded.target_hidden(batch)
            nll, weight = chunked_nll(hidden_MD, loaded.head_weight_VD, batch.target_ids_M, batch.weights_M, 16)
            means.append(nll.item() / weight.item())
        return float(np.mean(means))

    assert run_packed(loaded, rows, pack_tokens=40).distance(run_packed(loaded, rows, pack_tokens=1000)) < 1e-10
    assert abs(mean_of_means(40) - mean_of_means(1000)) > VISIBLE


def test_a_shared_token_counted_once_only_breaks_the_law() -> None:
    loaded = _load("llama")
    rows = make_rows()
    expected = run_plain(loaded, rows)

    def keep_first_weight(batch: PackedBatch) -> PackedBatch:
        """Give each merged target the weight of the first row that asks for it."""
        first = [rows[int(row)].weights_T for row in batch.row_of_target_M]
        place_M = batch.position_ids_N[batch.source_positions_M] + 1
        weights = [float(weights_T[place]) for weights_T, place in zip(first, place_M, strict=True)]
        return replace(batch, weights_M=torch.tensor(weights, dtype=torch.float64))

    assert run_packed(loaded, rows, change=keep_first_weight).distance(expected) > VISIBLE


@pytest.mark.parametrize("architecture", ["mistral", "gemma3"])
def test_a_window_that_is_ignored_breaks_the_law(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = _load(architecture)
    rows = make_rows()
    expected = run_plain(loaded, rows)
    attend = attention.attend_forest

    def attend_to_all(*tensors, scaling: float, sliding_window: int | None) -> torch.Tensor:
        return attend(*tensors, scaling=scaling, sliding_window=None)

    monkeypatch.setattr(attention, "attend_forest", attend_to_all)
    assert run_packed(loaded, rows).distance(expected) > VISIBLE
