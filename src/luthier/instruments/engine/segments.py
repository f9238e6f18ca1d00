"""Segments and their forest: what the rows of a pack share is computed once.

A pack is one flat stream of tokens, cut into segments. A segment continues its parent's tokens: a token attends
to its own segment up to itself and to all of its ancestors, and to nothing else. A forest without parents is plain
packing. Read next: ``packing.py`` (rows to forest), ``attention.py`` (forest to scaled dot products).

Shape suffixes in this room: N tokens of a pack, S segments, M targets, T tokens of one row, D model width,
V vocabulary, H heads, G key-value heads, K head width, B equal segments stacked, Q queries, R rank, I in, O out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

NO_PARENT = -1


class Segment(NamedTuple):
    """One run of tokens: ``[start, end)`` of the stream, and the index of the segment that it continues."""

    start: int
    end: int
    parent: int = NO_PARENT


@dataclass(frozen=True)
class Forest:
    """The segments of a pack, in stream order, parents before children.

    Attributes:
        starts: First token of each segment.
        ends: One past the last token of each segment.
        parents: Index of the segment that each one continues; -1 for a root.
        num_queries: How many of each segment's tokens ask, which are its last ones, alike in a family; empty for all.

    Shapes:
        S = segments; every tuple is (S,). Segments tile the stream: each starts where the one before ends.
    """

    starts: tuple[int, ...]
    ends: tuple[int, ...]
    parents: tuple[int, ...]
    num_queries: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Check that the segments tile the stream and that parents come first."""
        is_tiled = self.starts == (0, *self.ends[:-1])[: len(self.ends)]
        is_filled = all(start < end for start, end in zip(self.starts, self.ends, strict=True))
        is_ordered = all(NO_PARENT <= parent < index for index, parent in enumerate(self.parents))
        if not (is_tiled and is_filled and is_ordered and len(self.parents) == len(self.starts)):
            message = "segments tile the stream, hold a token each, and come after their parents"
            raise ValueError(message)

    @classmethod
    def of(cls, *segments: Segment) -> Forest:
        """Make a forest of segments."""
        return cls(tuple(s.start for s in segments), tuple(s.end for s in segments), tuple(s.parent for s in segments))

    @classmethod
    def of_lengths(cls, *lengths: int) -> Forest:
        """Make a forest of roots, one after another: plain packing."""
        ends = [sum(lengths[: index + 1]) for index in range(len(lengths))]
        return cls((0, *ends)[: len(ends)], tuple(ends), (NO_PARENT,) * len(lengths))

    @property
    def num_tokens(self) -> int:
        """Tokens of the stream."""
        return self.ends[-1] if self.ends else 0

    def __len__(self) -> int:
        """Return the number of segments."""
        return len(self.starts)

    def ancestors(self, index: int) -> tuple[int, ...]:
        """Return the segments that one continues, the root first."""
        path = []
        parent = self.parents[index]
        while parent != NO_PARENT:
            path.append(parent)
            parent = self.parents[parent]
        return tuple(reversed(path))

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of each segment."""
        return tuple(end - start for start, end in zip(self.starts, self.ends, strict=True))

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """Position of each segment's first token in the row that it belongs to."""
        offsets: list[int] = []
        for parent in self.parents:
            offsets.append(0 if parent == NO_PARENT else offsets[parent] + self.lengths[parent])
        return tuple(offsets)

    @cached_property
    def depth(self) -> int:
        """Segments on the longest path from a root."""
        return max((len(self.ancestors(index)) + 1 for index in range(len(self))), default=0)

    @cached_property
    def families(self) -> tuple[tuple[int, ...], ...]:
        """Segments that can be computed in one call: of one length, behind ancestors of the same lengths."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for index in range(len(self)):
            path = (*self.ancestors(index), index)
            groups.setdefault(tuple(self.lengths[part] for part in path), []).append(index)
        return tuple(tuple(group) for group in groups.values())

    @cached_property
    def lineages(self) -> tuple[tuple[tuple[int, ...], ...], ...]:
        """Of each family, whom its members continue at each level, the root first and the members themselves last."""
        return tuple(
            (*zip(*(self.ancestors(index) for index in family), strict=True), family) for family in self.families
        )
