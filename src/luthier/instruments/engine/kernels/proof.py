"""The kernels against their formulas in float64, on random numbers, whenever a process loads them.

A compiler that got one wrong would train a wrong model in silence; so a library that fails here is not used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor
from torch.nn.functional import silu

if TYPE_CHECKING:
    from luthier.instruments.engine.kernels.calls import Kernels

TOLERANCE: Final = 2.2e-3  # rounding to bfloat16 moves a number by 2^-9 of itself at most, 1.95e-3
ROWS: Final = 8
WIDTH: Final = 72


def disproves(kernels: Kernels) -> bool:
    """Tell whether any kernel is farther from its formula than rounding to bfloat16 brings it."""
    with torch.random.fork_rng(devices=[]), torch.no_grad(), torch.autocast("cpu", enabled=False):
        torch.manual_seed(0)
        pairs = [*_norms(kernels), *_gates(kernels), *_rotations(kernels), *_weights(kernels), *_logps(kernels)]
    return any(not _is_near(ours, theirs) for ours, theirs in pairs)


def _is_near(ours: Tensor, theirs: Tensor) -> bool:
    return bool((ours.double() - theirs).norm() <= TOLERANCE * theirs.norm())


def _make(*shape: int) -> tuple[Tensor, Tensor]:
    """Make random numbers in bfloat16 and the same in float64."""
    narrow = torch.randn(shape).bfloat16()
    return narrow, narrow.double()


def _norms(kernels: Kernels) -> list[tuple[Tensor, Tensor]]:
    hidden, weight = torch.randn(ROWS, WIDTH), torch.rand(WIDTH)
    grad, grad_wide = _make(ROWS, WIDTH)
    output, scale = kernels.norm_forward(hidden, weight, offset=1.0, eps=1e-5)
    wide = hidden.double()
    factor = (wide.square().mean(-1, keepdim=True) + 1e-5).rsqrt()
    normed, slope = wide * factor, grad_wide * (weight.double() + 1)
    back = (slope - normed * (slope * normed).mean(-1, keepdim=True)) * factor
    ours = kernels.norm_backward(grad, hidden, weight, scale, offset=1.0)
    return [(output, normed * (weight.double() + 1)), (scale, factor), (ours, back)]


def _gates(kernels: Kernels) -> list[tuple[Tensor, Tensor]]:
    (gate, gate_wide), (up, up_wide), (grad, grad_wide) = (_make(ROWS, WIDTH) for _ in range(3))
    sigmoid = torch.sigmoid(gate_wide)
    to_gate, to_up = kernels.swiglu_backward(grad, gate, up)
    slope = sigmoid * (1 + gate_wide * (1 - sigmoid))
    return [
        (kernels.swiglu_forward(gate, up), silu(gate_wide) * up_wide),
        (to_gate, grad_wide * up_wide * slope),
        (to_up, grad_wide * silu(gate_wide)),
    ]


def _rotations(kernels: Kernels) -> list[tuple[Tensor, Tensor]]:
    heads, wide = _make(1, ROWS, 3, WIDTH)
    angles = torch.randn(1, ROWS, 1, WIDTH // 2)
    output = torch.empty(1, 3, ROWS, WIDTH, dtype=torch.bfloat16).transpose(1, 2)
    kernels.rotate(heads, angles.cos(), angles.sin(), output, sense=-1.0)
    turned = torch.view_as_complex(torch.stack(wide.chunk(2, -1), -1)) * torch.polar(
        torch.ones(()).double(), -angles.double()
    )
    return [(output, torch.cat([turned.real, turned.imag], -1))]


def _weights(kernels: Kernels) -> list[tuple[Tensor, Tensor]]:
    (query, query_wide), (key, key_wide) = _make(2, 3, 128, WIDTH), _make(2, 192, WIDTH)
    ours = kernels.weigh(query, kernels.pack_keys(key), slice(64, 128), seen=192, num_before=64, scaling=0.2)
    scores = query_wide[:, :, 64:] @ key_wide[:, None].transpose(-1, -2) * 0.2
    is_later = torch.ones(64, 192, dtype=torch.bool).triu(64 + 64 + 1)
    return [(ours, torch.softmax(scores.masked_fill(is_later, float("-inf")), -1))]


def _logps(kernels: Kernels) -> list[tuple[Tensor, Tensor]]:
    products, wide = _make(ROWS, WIDTH)
    targets = torch.arange(ROWS)
    logps = torch.log_softmax(wide, -1)
    ours = kernels.take_logps(products, targets, keeps_gradient=True)
    gradient = torch.eye(ROWS, WIDTH, dtype=torch.float64) - logps.exp()
    return [(ours, logps.gather(1, targets[:, None])[:, 0]), (products, gradient)]
