"""Fused passes against transformers' and PEFT's own modules, values and gradients."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from luthier.instruments.engine import block_attention
from luthier.instruments.engine.allocation import keep_freed_memory
from luthier.instruments.engine.attention import attend_forest
from luthier.instruments.engine.fused import WeightCopies, adapted_linear, fuse_modules
from luthier.instruments.engine.kernels import calls
from luthier.instruments.engine.load import wrap_model
from luthier.instruments.engine.methods.lora.config import Config as LoraConfig
from luthier.instruments.engine.methods.lora.method import PLUGIN as LORA
from luthier.instruments.engine.precision import autocast
from luthier.instruments.engine.segments import Forest, Segment
from tests.fixtures.tiny_models import ARCHITECTURES, make_tiny

pytestmark = pytest.mark.parity


def _random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_fused_modules_reproduce_the_whole_model_and_its_gradients(architecture: str) -> None:
    theirs = make_tiny(architecture, seed=4)
    ours = copy.deepcopy(theirs)
    fuse_modules(ours)
    fused = {type(module).__name__ for module in ours.modules() if "forward" in vars(module)}
    assert any(name.endswith("RMSNorm") for name in fused), fused
    assert any(name.endswith("MLP") for name in fused) == (architecture in {"llama", "qwen3", "mistral"}), fused
    ids = torch.tensor([[5, 9, 17, 300, 4, 4, 80]])
    outcomes = []
    for model in (theirs, ours):
        logits = model(input_ids=ids, use_cache=False).logits
        logits.square().mean().backward()
        outcomes.append(
            (logits.detach(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
        )
    # float32: the same formula in another order of operations
    for our_value, their_value in zip(*outcomes[::-1], strict=True):
        assert (our_value - their_value).norm() / their_value.norm() < 1e-5


def test_what_is_not_reproduced_is_left_alone() -> None:
    class OddRMSNorm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.rand(8) + 0.5)

        def forward(self, x: Tensor) -> Tensor:
            return self.weight * x / x.abs().mean(-1, keepdim=True)

    class GeluMLP(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate_proj, self.up_proj, self.down_proj = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
            self.act_fn = nn.GELU()

        def forward(self, x: Tensor) -> Tensor:
            return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))

    assert fuse_modules(nn.ModuleList([OddRMSNorm(), GeluMLP(), nn.LayerNorm(8)])) == 0


def test_an_adapted_linear_layer_passes_gradcheck() -> None:
    x, weight, bias = _random(2, 3, 6).requires_grad_(), _random(5, 6, seed=1), _random(5, seed=2)
    down, up = _random(2, 6, seed=3).requires_grad_(), _random(5, 2, seed=4).requires_grad_()

    def ours(x: Tensor, down: Tensor, up: Tensor) -> Tensor:
        return adapted_linear(x, weight, bias, down, up, scaling=1.7)

    theirs = x @ weight.T + bias + 1.7 * (x @ down.T) @ up.T
    torch.testing.assert_close(ours(x, down, up), theirs, rtol=1e-13, atol=1e-13)
    assert torch.autograd.gradcheck(ours, (x, down, up))


def test_an_adapter_equals_pefts_own_forward_with_and_without_dropout() -> None:
    for dropout in (0.0, 0.5):
        loaded = wrap_model(make_tiny("llama"))
        for parameter in LORA.build(loaded, LoraConfig(rank=4, dropout=dropout), seed=0):
            parameter.data.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
        layer = loaded.model.model.layers[0].mlp.down_proj
        x = _random(7, 80, dtype=torch.float32)
        layer.train()
        torch.manual_seed(3)
        ours = layer(x)
        torch.manual_seed(3)
        theirs = type(layer).forward(layer, x)
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4)


def test_bfloat16_training_is_as_near_to_float32_as_autocast_alone() -> None:
    """Our fused passes under autocast may round elsewhere, but not more than transformers' and PEFT's own."""
    ids_N, positions_N = torch.randint(320, (64,), generator=torch.Generator().manual_seed(0)), torch.arange(64)
    errors, exact = {}, torch.empty(0)
    for kind in ("exact", "plain", "fused"):
        loaded = wrap_model(make_tiny("llama"))
        parameters = LORA.build(loaded, LoraConfig(rank=4), seed=0)
        for parameter in parameters:
            parameter.data.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.1)
        if kind == "plain":
            loaded.can_pack = False
            loaded.config._attn_implementation = "sdpa"
            for module in loaded.model.modules():
                vars(module).pop("forward", None)
        with autocast("fp32" if kind == "exact" else "bf16"):
            hidden_ND = loaded.body(ids_N, positions_N, Forest.of_lengths(64))
        hidden_ND.float().square().mean().backward()
        gradient = torch.cat([parameter.grad.flatten() for parameter in parameters])
        exact = gradient if kind == "exact" else exact
        errors[kind] = float((gradient - exact).norm() / exact.norm())
    assert 0 < errors["plain"] < 0.5  # the tiny model's large weights make roundings show
    assert errors["fused"] < 1.5 * errors["plain"]


def _attend_branches(
    groups: int, dtype: torch.dtype, window: int | None = None, *, precision: str = "fp32"
) -> list[Tensor]:
    """Return output and gradients of a root of 150 tokens with three branches of 140: blocks and branches cross."""
    forest = Forest.of(Segment(0, 150), *(Segment(s, s + 140, 0) for s in (150, 290, 430)))
    shapes = [(1, 2 * groups, 570, 16), (1, 2, 570, 16), (1, 2, 570, 16)]
    tensors = [_random(*shape, seed=i).requires_grad_() for i, shape in enumerate(shapes)]
    cast = [tensor.to(dtype) for tensor in tensors]
    with autocast(precision):
        output = attend_forest(*cast, forest, scaling=0.25, sliding_window=window)
    loss = (output.double() * _random(*shapes[0], seed=9)).sum()
    return [output.detach().double(), *torch.autograd.grad(loss, tensors)]


def _errors(values: list[Tensor], exact: list[Tensor]) -> list[float]:
    return [float((value - right).norm() / right.norm()) for value, right in zip(values, exact, strict=True)]


@pytest.mark.parametrize("groups", [1, 3])
def test_block_attention_in_bfloat16_is_as_near_to_float64_as_torchs_own(groups: int) -> None:
    exact = _attend_branches(groups, torch.float64)
    ours = _attend_branches(groups, torch.bfloat16)
    theirs = _attend_branches(groups, torch.bfloat16, window=10_000)  # a window that hides nothing: still ours
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    rounded = _attend_branches(groups, torch.float16)  # torch's own path, with three more bits
    for our_error, their_error in zip(_errors(ours, exact), _errors(rounded, exact), strict=True):
        assert our_error < 1.5 * 8 * their_error + 1e-3
        assert our_error < 1.5e-2


@pytest.mark.parametrize("groups", [1, 3])
def test_block_attention_in_float32_equals_torchs_own_in_float64(groups: int) -> None:
    ours, exact = _attend_branches(groups, torch.float32), _attend_branches(groups, torch.float64)
    assert max(_errors(ours, exact)) < 2e-6  # a few roundings of 6e-8 over sums of 290 products


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_that_are_kept_and_weights_computed_again_give_the_same_bits(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = _attend_branches(3, dtype)
    monkeypatch.setattr(block_attention, "KEEP_KEYS", 100)
    again = _attend_branches(3, dtype)
    assert all(torch.equal(a, b) for a, b in zip(kept, again, strict=True))


@pytest.mark.parametrize("has_kernels", [True, False])
def test_autocast_rounds_no_attention_scores(has_kernels: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The backward pass runs outside autocast: what it computes again must be what the forward pass had."""
    if not has_kernels:
        monkeypatch.setattr(calls, "load_kernels", lambda: None)
    monkeypatch.setattr(block_attention, "KEEP_KEYS", 100)
    under, outside = (_attend_branches(3, torch.bfloat16, precision=precision) for precision in ("bf16", "fp32"))
    assert all(torch.equal(a, b) for a, b in zip(under, outside, strict=True))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_trimmed_last_block_gives_the_states_and_gradients_of_a_whole_one(architecture: str) -> None:
    """A position wanted twice counts twice; architectures whose last block has another form compute all of it."""
    ids_N, positions_N = torch.arange(3, 35), torch.cat([torch.arange(20), torch.arange(12)])
    forest, wanted_M = Forest.of_lengths(20, 12), torch.tensor([7, 19, 19, 31])
    outcomes = []
    for trims in (True, False):
        loaded = wrap_model(make_tiny(architecture, seed=2))
        assert loaded.can_trim == (architecture not in {"gemma3", "phi3"})
        loaded.can_trim &= trims
        loaded.model.requires_grad_(requires_grad=True)
        hidden_MD = loaded.body(ids_N, positions_N, forest, positions_M=wanted_M)
        hidden_MD.sin().sum().backward()
        gradients = [p.grad.flatten() for p in loaded.model.parameters() if p.grad is not None]
        outcomes.append((hidden_MD.detach(), torch.cat(gradients)))
    for trimmed, whole in zip(*outcomes, strict=True):
        assert (trimmed - whole).norm() / whole.norm() < 1e-5  # float32, sums in another order


def test_a_weight_is_cast_once_and_again_when_it_changed() -> None:
    copies, weight = WeightCopies(), torch.ones(2, 2)
    first = copies.get(weight, torch.bfloat16)
    assert copies.get(weight, torch.bfloat16) is first
    assert copies.get(weight, torch.float32) is weight
    weight.add_(1.0)
    assert copies.get(weight, torch.bfloat16).tolist() == [[2.0, 2.0], [2.0, 2.0]]


def test_the_allocator_is_told_once_and_says_whether_it_listened() -> None:
    assert keep_freed_memory() is keep_freed_memory()
    assert isinstance(keep_freed_memory(), bool)


def test_a_frozen_head_is_cast_once_and_one_that_is_trained_keeps_its_own_precision() -> None:
    loaded = wrap_model(make_tiny("llama"))
    weight = loaded.model.get_output_embeddings().weight
    with autocast("bf16"), torch.inference_mode():
        first = loaded.head_weight_VD
        assert first.dtype == torch.bfloat16
        assert torch.equal(first, weight.to(torch.bfloat16))
        assert loaded.head_weight_VD is first
    assert not first.is_inference(), "the copy made for answers serves gradients too"
    assert loaded.head_weight_VD is weight
    weight.requires_grad_()
    with autocast("bf16"):
        assert loaded.head_weight_VD is weight
