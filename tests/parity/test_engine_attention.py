"""Attention over forests against one dense masked softmax, written down from the definition."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from luthier.instruments.engine.attention import attend_forest
from luthier.instruments.engine.segments import NO_PARENT, Forest, Segment

pytestmark = pytest.mark.parity


def _dense(
    query_1HNK: Tensor, key_1GNK: Tensor, value_1GNK: Tensor, forest: Forest, scaling: float, window: int | None
):
    """Softmax over an (N, N) mask: same path of segments, not later, not farther than the window."""
    num_tokens = forest.num_tokens
    segment_N = [i for i, length in enumerate(forest.lengths) for _ in range(length)]
    position_N = [forest.offsets[s] + t - forest.starts[s] for t, s in enumerate(segment_N)]
    mask_NN = torch.zeros(num_tokens, num_tokens, dtype=torch.bool)
    for query in range(num_tokens):
        path = {segment_N[query], *forest.ancestors(segment_N[query])}
        for key in range(num_tokens):
            back = position_N[query] - position_N[key]
            mask_NN[query, key] = segment_N[key] in path and back >= 0 and (window is None or back < window)
    groups = query_1HNK.shape[1] // key_1GNK.shape[1]
    keys, values = (t_1GNK.repeat_interleave(groups, dim=1) for t_1GNK in (key_1GNK, value_1GNK))
    scores = (query_1HNK @ keys.transpose(-1, -2) * scaling).masked_fill(~mask_NN, float("-inf"))
    return torch.softmax(scores, dim=-1) @ values


@st.composite
def forests(draw: st.DrawFn) -> Forest:
    segments: list[Segment] = []
    for index in range(draw(st.integers(1, 7))):
        start = segments[-1].end if segments else 0
        parent = draw(st.integers(NO_PARENT, index - 1))
        segments.append(Segment(start, start + draw(st.integers(1, 5)), parent))
    return Forest.of(*segments)


@settings(max_examples=60, deadline=None)
@given(forest=forests(), window=st.none() | st.integers(1, 9), groups=st.sampled_from([1, 3]))
def test_attention_over_a_forest_equals_a_dense_mask(forest: Forest, window: int | None, groups: int) -> None:
    generator = torch.Generator().manual_seed(forest.num_tokens)
    shapes = [(1, 2 * groups, forest.num_tokens, 4), (1, 2, forest.num_tokens, 4), (1, 2, forest.num_tokens, 4)]
    tensors = [torch.randn(s, generator=generator, dtype=torch.float64).requires_grad_() for s in shapes]
    weight = torch.randn(shapes[0], generator=generator, dtype=torch.float64)
    ours = attend_forest(*tensors, forest, scaling=0.3, sliding_window=window)
    theirs = _dense(*tensors, forest, 0.3, window)
    # float64; the two sum in different orders
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    our_gradients = torch.autograd.grad((ours * weight).sum(), tensors)
    their_gradients = torch.autograd.grad((theirs * weight).sum(), tensors)
    torch.testing.assert_close(our_gradients, their_gradients, rtol=1e-11, atol=1e-11)


def test_equal_siblings_are_computed_in_one_call() -> None:
    forest = Forest.of(Segment(0, 4), Segment(4, 6, 0), Segment(6, 8, 0), Segment(8, 11, 0), Segment(11, 13))
    assert forest.families == ((0,), (1, 2), (3,), (4,))


def test_a_sibling_changes_nothing_for_its_brother() -> None:
    forest = Forest.of(Segment(0, 4), Segment(4, 7, 0), Segment(7, 10, 0))
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, 2, 10, 4, generator=generator) for _ in range(3))
    before = attend_forest(query, key, value, forest, scaling=0.5)
    key[:, :, 4:7] += 100.0
    after = attend_forest(query, key, value, forest, scaling=0.5)
    assert torch.equal(before[:, :, 7:], after[:, :, 7:])
    assert torch.equal(before[:, :, :4], after[:, :, :4])
    assert not torch.equal(before[:, :, 4:7], after[:, :, 4:7])
