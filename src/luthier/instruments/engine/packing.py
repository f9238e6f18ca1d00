"""Rows to packs: no padding, and what rows have in common is computed once.

Rows are sorted so that those which share a beginning lie side by side, cut into packs of at most ``pack_tokens``
computed tokens, and each pack becomes a forest: the tree of the rows' shared beginnings, reduced to the few levels
that save most. Which rows share a pack never changes the sum of a step's losses, hence never its gradient.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from luthier.foundation.core.errors import DataError
from luthier.instruments.engine.segments import NO_PARENT, Forest, Segment

if TYPE_CHECKING:
    from luthier.instruments.text.encode import EncodedRow

MAX_TREE_LEVELS = 32  # shared beginnings nested deeper than this are written out; bounds recursion, never exactness


@dataclass(frozen=True)
class PackedBatch:
    """What one forward pass computes.

    Attributes:
        input_ids_N: Tokens of the stream.
        position_ids_N: Position of each token in its row.
        forest: How the stream is cut and what continues what.
        source_positions_M: Stream position whose output predicts the target.
        target_ids_M: Token to be predicted.
        weights_M: Weight of its loss in float64; where several rows share the token, the sum of theirs.
        row_of_target_M: Which row (index into the rows that were packed) asks for the target; with merged
            targets, the first of those that share it.
        num_rows: Rows in this pack.
        num_row_tokens: Tokens that these rows have when each is written out.

    Shapes:
        N = tokens of the stream, M = targets.
    """

    input_ids_N: Tensor
    position_ids_N: Tensor
    forest: Forest
    source_positions_M: Tensor
    target_ids_M: Tensor
    weights_M: Tensor
    row_of_target_M: Tensor
    num_rows: int
    num_row_tokens: int

    def to(self, device: torch.device | str) -> PackedBatch:
        """Return the batch on a device."""
        return PackedBatch(
            self.input_ids_N.to(device),
            self.position_ids_N.to(device),
            self.forest,
            self.source_positions_M.to(device),
            self.target_ids_M.to(device),
            self.weights_M.to(device),
            self.row_of_target_M.to(device),
            self.num_rows,
            self.num_row_tokens,
        )


def pack_rows(
    rows: Sequence[EncodedRow],
    *,
    pack_tokens: int,
    share_prefixes: bool = True,
    min_shared_tokens: int = 16,
    max_depth: int = 3,
    merge_targets: bool = True,
) -> list[PackedBatch]:
    """Pack rows into forests of at most ``pack_tokens`` computed tokens.

    Args:
        rows: What to pack. Every row lands whole in exactly one pack; a row longer than ``pack_tokens`` gets its own.
        pack_tokens: Bound on a pack's tokens, and so on its memory.
        share_prefixes: Compute shared beginnings once.
        min_shared_tokens: Shortest beginning worth a segment of its own.
        max_depth: Greatest number of segments that a row is spread over.
        merge_targets: Let rows that share a trained token share one target with the sum of their weights. Off,
            each row's targets are listed one by one, so that scores can be told apart.

    Returns:
        Packs, in an order that depends on the rows alone.

    Raises:
        DataError: E-ENG-006 when a row's first token is trained: nothing stands before it to predict it from.
    """
    _check_rows(rows)
    order = list(range(len(rows)))
    if share_prefixes:
        order.sort(key=lambda index: rows[index].token_ids_T.astype(">u4").tobytes())
    min_shared = min_shared_tokens if share_prefixes else sys.maxsize
    packs = []
    for group in _cut(rows, order, pack_tokens=pack_tokens, min_shared=min_shared):
        for part, layout in _fit(rows, group, pack_tokens=pack_tokens, min_shared=min_shared, max_depth=max_depth):
            packs.append(_fill(rows, part, layout, merge_targets=merge_targets))
    return packs


def _check_rows(rows: Sequence[EncodedRow]) -> None:
    for row in rows:
        if len(row.token_ids_T) == 0 or row.weights_T[0] > 0:
            raise DataError(
                "E-ENG-006",
                "a row cannot train its first token: nothing stands before it",
                got=f"row {row.id}, {len(row.token_ids_T)} tokens",
                allowed="rows that start with at least one token of context",
                fix="begin the row with a system or user message",
            )


def _common_prefix(first_T: np.ndarray, second_T: np.ndarray) -> int:
    length = min(len(first_T), len(second_T))
    different = np.flatnonzero(first_T[:length] != second_T[:length])
    return int(different[0]) if len(different) else length


def _cut(rows: Sequence[EncodedRow], order: Sequence[int], *, pack_tokens: int, min_shared: int) -> Iterator[list[int]]:
    """Yield each pack's rows, filled greedily; of sorted rows, the one before shares the longest beginning."""
    group: list[int] = []
    used = 0
    for index in order:
        ids_T = rows[index].token_ids_T
        common = _common_prefix(rows[group[-1]].token_ids_T, ids_T) if group else 0
        cost = len(ids_T) - (common if common >= min_shared else 0)
        if group and used + cost > pack_tokens:
            yield group
            group, used, cost = [], 0, len(ids_T)
        group.append(index)
        used += cost
    if group:
        yield group


def _fit(
    rows: Sequence[EncodedRow], group: list[int], *, pack_tokens: int, min_shared: int, max_depth: int
) -> Iterator[tuple[list[int], _Layout]]:
    """Yield layouts of a group, halved as long as the depth limit makes one longer than a pack may be."""
    ids = [rows[index].token_ids_T for index in group]
    shared = [_common_prefix(first_T, second_T) for first_T, second_T in pairwise(ids)]
    layout = _lay_out(ids, _build_tree(ids, shared, min_shared=min_shared), max_depth=max_depth)
    if len(group) == 1 or layout.forest.num_tokens <= pack_tokens:
        yield group, layout
        return
    half = len(group) // 2
    for part in (group[:half], group[half:]):
        yield from _fit(rows, part, pack_tokens=pack_tokens, min_shared=min_shared, max_depth=max_depth)


@dataclass
class _Node:
    """A shared beginning of ``length`` tokens; a leaf is one row (``row`` indexes the pack)."""

    length: int
    row: int = -1
    children: list[_Node] = field(default_factory=list)


def _build_tree(ids: list[np.ndarray], shared: list[int], *, min_shared: int) -> _Node:
    """Build the tree of shared beginnings of sorted rows; beginnings nearer than ``min_shared`` are joined."""

    def build(low: int, high: int, length: int, level: int) -> list[_Node]:
        nodes: list[_Node] = []
        start = low
        for index in range(low + 1, high + 1):
            if index < high and shared[index - 1] >= length + min_shared and level < MAX_TREE_LEVELS:
                continue
            if index - start == 1:
                nodes.append(_Node(len(ids[start]), row=start))
            else:
                inner = min(shared[start : index - 1])
                nodes.append(_Node(inner, children=build(start, index, inner, level + 1)))
            start = index
        return nodes

    return _Node(0, children=build(0, len(ids), 0, 0))


@dataclass
class _Layout:
    """Segments of a pack with, for each row of it, the path of segments that spell it."""

    forest: Forest
    tokens: list[np.ndarray]
    paths: dict[int, tuple[int, ...]]


def _lay_out(ids: list[np.ndarray], tree: _Node, *, max_depth: int) -> _Layout:
    """Choose which shared beginnings become segments, so that fewest tokens are computed within the depth."""

    @cache
    def cost(node_id: int, begun: int, levels: int) -> int:
        node = nodes[node_id]
        if node.row >= 0:
            return node.length - begun
        skip = sum(cost(id(child), begun, levels) for child in node.children)
        return min(skip, keep_cost(node, begun, levels)) if levels > 1 else skip

    def keep_cost(node: _Node, begun: int, levels: int) -> int:
        return node.length - begun + sum(cost(id(child), node.length, levels - 1) for child in node.children)

    nodes = {id(node): node for node in _walk(tree)}
    segments: list[Segment] = []
    tokens: list[np.ndarray] = []
    paths: dict[int, tuple[int, ...]] = {}

    def place(begun: int, end: int, sample: int, path: tuple[int, ...]) -> tuple[int, ...]:
        if end == begun:
            return path
        start = segments[-1].end if segments else 0
        segments.append(Segment(start, start + end - begun, path[-1] if path else NO_PARENT))
        tokens.append(ids[sample][begun:end])
        return (*path, len(segments) - 1)

    def visit(node: _Node, begun: int, levels: int, path: tuple[int, ...]) -> None:
        if node.row >= 0:
            paths[node.row] = place(begun, node.length, node.row, path)
            return
        skip = sum(cost(id(child), begun, levels) for child in node.children)
        if levels > 1 and node.length > begun and keep_cost(node, begun, levels) < skip:
            path = place(begun, node.length, _first_row(node), path)
            begun, levels = node.length, levels - 1
        for child in node.children:
            visit(child, begun, levels, path)

    visit(tree, 0, max_depth, ())
    return _Layout(Forest.of(*segments), tokens, paths)


def _walk(node: _Node) -> Iterator[_Node]:
    yield node
    for child in node.children:
        yield from _walk(child)


def _first_row(node: _Node) -> int:
    while node.row < 0:
        node = node.children[0]
    return node.row


def _fill(rows: Sequence[EncodedRow], group: list[int], layout: _Layout, *, merge_targets: bool) -> PackedBatch:
    forest = layout.forest
    sources, targets, weights, owners, places = [], [], [], [], []
    for member, index in enumerate(group):
        row = rows[index]
        stream_T = np.concatenate([np.arange(forest.starts[s], forest.ends[s]) for s in layout.paths[member]])
        trained = np.flatnonzero(row.weights_T > 0)
        sources.append(stream_T[trained - 1])
        places.append(stream_T[trained])
        targets.append(row.token_ids_T[trained])
        weights.append(row.weights_T[trained].astype(np.float64))
        owners.append(np.full(len(trained), index))
    source_M, target_M, weight_M, owner_M, place_M = map(np.concatenate, (sources, targets, weights, owners, places))
    if merge_targets:
        _, first_M, inverse = np.unique(place_M, return_index=True, return_inverse=True)
        weight_M = np.bincount(inverse, weights=weight_M, minlength=len(first_M))
        source_M, target_M, owner_M = source_M[first_M], target_M[first_M], owner_M[first_M]
    position_N = np.concatenate(
        [offset + np.arange(length) for offset, length in zip(forest.offsets, forest.lengths, strict=True)]
    )
    return PackedBatch(
        input_ids_N=torch.from_numpy(np.concatenate(layout.tokens).astype(np.int64)),
        position_ids_N=torch.from_numpy(position_N.astype(np.int64)),
        forest=forest,
        source_positions_M=torch.from_numpy(source_M.astype(np.int64)),
        target_ids_M=torch.from_numpy(target_M.astype(np.int64)),
        weights_M=torch.from_numpy(weight_M),
        row_of_target_M=torch.from_numpy(owner_M.astype(np.int64)),
        num_rows=len(group),
        num_row_tokens=sum(len(rows[index].token_ids_T) for index in group),
    )
