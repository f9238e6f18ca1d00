"""Attention in fewer passes against transformers' own rotation and layers, values and gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from luthier.instruments.engine import block_attention, fused_attention, last_block, load, loss
from luthier.instruments.engine.fused_attention import Queries, fuse_attention, rotate, takes_queries
from luthier.instruments.engine.load import wrap_model
from luthier.instruments.engine.segments import Forest, Segment
from luthier.instruments.engine.tiles import TILE, count_filler
from tests.fixtures.tiny_models import ARCHITECTURES, make_tiny

pytestmark = pytest.mark.parity
NUM_TOKENS, WIDTH = 7, 16
PLAIN = {"llama"}  # the tiny Mistral sees a window, the others norm queries or fuse projections


def _angles(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    angles = torch.rand(1, NUM_TOKENS, WIDTH // 2, generator=torch.Generator().manual_seed(3)).to(dtype) * 6
    return torch.cat([angles, angles], -1).cos(), torch.cat([angles, angles], -1).sin()


def _heads(num: int, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(num)
    return torch.randn(1, NUM_TOKENS, num, WIDTH, generator=generator).to(dtype).requires_grad_()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_a_rotation_equals_transformers_and_its_gradient_equals_autograds(dtype: torch.dtype, tolerance: float) -> None:
    cos, sin = _angles(dtype)
    query = _heads(4, dtype)
    theirs, _ = apply_rotary_pos_emb(query.transpose(1, 2), query.transpose(1, 2), cos, sin)
    ours = rotate(query, cos, sin)
    weights = torch.randn(ours.shape, generator=torch.Generator().manual_seed(9)).to(dtype)
    their_gradient, our_gradient = (torch.autograd.grad((out * weights).sum(), query)[0] for out in (theirs, ours))
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(our_gradient, their_gradient, rtol=tolerance, atol=tolerance)


def test_a_rotation_in_bfloat16_rounds_once() -> None:
    cos, sin = _angles(torch.float32)
    query = _heads(3, torch.bfloat16)
    exact = rotate(query.float(), cos, sin)
    assert torch.equal(rotate(query, cos, sin), exact.bfloat16())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_only_plain_layers_are_replaced_and_calls_without_segments_keep_their_own_way(architecture: str) -> None:
    loaded = wrap_model(make_tiny(architecture, seed=2))
    fused = [module for module in loaded.decoder.modules() if takes_queries(module)]
    assert len(fused) == (loaded.config.num_hidden_layers if architecture in PLAIN else 0)
    ids = torch.tensor([[5, 9, 17, 30, 4]])
    theirs = make_tiny(architecture, seed=2).eval()(input_ids=ids).logits
    with loaded.plain_attention():
        assert torch.allclose(loaded.model(input_ids=ids).logits, theirs, atol=1e-5)


def test_layers_that_see_a_window_are_left_alone() -> None:
    model = make_tiny("llama", seed=2)
    model.config.sliding_window = 3
    assert fuse_attention(model.base_model, model.config) == []


def test_a_layer_that_only_looks_plain_gets_its_own_forward_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        fused_attention, "_turn", lambda heads, _cos, _sin, output, *, sense: output.copy_(heads * sense)
    )
    loaded = wrap_model(make_tiny("llama", seed=2))  # rotations that do not turn: the proof at the door fails
    assert loaded.can_pack
    assert not any(takes_queries(module) for module in loaded.decoder.modules())


def test_queries_begin_at_the_first_wanted_position_of_each_segment_and_alike_in_a_family() -> None:
    forest = Forest.of(Segment(0, 4), Segment(4, 7, 0), Segment(7, 10, 0), Segment(10, 15))
    queries = Queries(forest, torch.tensor([9, 3, 5, 3]))
    assert queries.lengths == (1, 2, 2, 0)  # the two answers are one family; the last segment is never asked
    assert queries.positions_Q.tolist() == [3, 5, 6, 8, 9]
    assert queries.positions_Q[queries.wanted_M].tolist() == [9, 3, 5, 3]


def test_few_queries_of_a_forest_give_the_states_and_gradients_of_all() -> None:
    forest = Forest.of(Segment(0, 4), Segment(4, 7, 0), Segment(7, 10, 0), Segment(10, 15))
    positions = torch.tensor([*range(4), 4, 5, 6, 4, 5, 6, *range(5)])
    ids = torch.arange(15) * 7 % 300
    wanted = torch.tensor([9, 3, 5, 3])
    outcomes = []
    for trims in (True, False):
        loaded = wrap_model(make_tiny("llama", seed=2))
        loaded.can_trim = trims
        loaded.model.requires_grad_(requires_grad=True)
        states = loaded.body(ids, positions, forest, positions_M=wanted)
        states.square().sum().backward()
        gradients = [p.grad.flatten() for p in loaded.model.parameters() if p.grad is not None]
        outcomes.append((states.detach(), torch.cat(gradients)))
    for few, whole in zip(*outcomes, strict=True):
        assert (few - whole).norm() / whole.norm() < 1e-5  # float32, sums in another order


def test_filler_changes_no_state_no_loss_and_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32, where both can be compared: filled as in bfloat16 and not filled at all."""
    forest = Forest.of(Segment(0, 4), Segment(4, 7, 0), Segment(7, 10, 0), Segment(10, 15))
    positions = torch.tensor([*range(4), 4, 5, 6, 4, 5, 6, *range(5)])
    ids, wanted = torch.arange(15) * 7 % 300, torch.tensor([9, 3, 5, 14])
    outcomes = []
    for fills in (True, False):
        for module in (load, last_block, fused_attention, block_attention, loss):
            monkeypatch.setattr(module, "count_filler", lambda num, _like, fills=fills: -num % 8 if fills else 0)
        loaded = wrap_model(make_tiny("llama", seed=2))
        loaded.model.requires_grad_(requires_grad=True)
        states = loaded.body(ids, positions, forest, positions_M=wanted)
        logps = loss.chunked_logps(states, loaded.head_weight_VD, ids[wanted])
        logps.sum().backward()
        gradients = [p.grad.flatten() for p in loaded.model.parameters() if p.grad is not None]
        outcomes.append((states.detach(), logps.detach(), torch.cat(gradients)))
    for filled, plain in zip(*outcomes, strict=True):
        assert filled.shape == plain.shape
        assert (filled - plain).norm() / plain.norm() < 1e-5  # float32, sums in another order


def test_only_bfloat16_on_a_processor_is_filled() -> None:
    assert count_filler(65, torch.ones(1, dtype=torch.bfloat16)) == TILE - 1
    assert count_filler(2 * TILE, torch.ones(1, dtype=torch.bfloat16)) == 0
    assert count_filler(65, torch.ones(1)) == 0
    with torch.autocast("cpu", torch.bfloat16):
        assert count_filler(65, torch.ones(1)) == TILE - 1
