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

NARROW_STEP: Final = 1.01 * 2**-8  # rounding to the eight binary digits of bfloat16 moves a number by 2^-8 at most
WIDE_STEP: Final = 1e-5  # float32 sums of a few hundred numbers
NOISE: Final = 1e-5  # of the greatest number, where others cancel
ROWS: Final = 512  # enough to wake all threads
WIDTH: Final = 72
STEEP: Final = 50.0  # so that exponentials meet their bounds

Pair = tuple[Tensor, Tensor]
"""What a kernel gave, and what its formula gives in float64."""


def disproves(kernels: Kernels) -> bool:
    """Tell whether any kernel is farther from its formula than rounding brings it."""
    with torch.no_grad(), torch.autocast("cpu", enabled=False), torch.device("cpu"):
        source = _Source()
        proofs = (_norms, _gates, _rotations, _weights, _logps)
        return not all(_is_near(ours, theirs) for prove in proofs for ours, theirs in prove(kernels, source))


def _is_near(ours: Tensor, theirs: Tensor) -> bool:
    step = NARROW_STEP if ours.dtype == torch.bfloat16 else WIDE_STEP
    sizes = theirs.abs()
    return bool(((ours.double() - theirs).abs() <= step * sizes + NOISE * sizes.max()).all())


class _Source:
    """Random numbers that disturb nobody's."""

    def __init__(self) -> None:
        self._generator = torch.Generator("cpu").manual_seed(0)

    def make_wide(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self._generator, dtype=torch.float32)

    def make_narrow(self, *shape: int) -> Pair:
        """Make numbers in bfloat16, the first row steep, and the same in float64."""
        wide = self.make_wide(*shape)
        wide[0] *= STEEP
        narrow = wide.bfloat16()
        return narrow, narrow.double()


def _norms(kernels: Kernels, source: _Source) -> list[Pair]:
    hidden, weight = source.make_wide(ROWS, WIDTH), source.make_wide(WIDTH)
    grad, grad_wide = source.make_narrow(ROWS, WIDTH)
    output, scale = kernels.norm_forward(hidden, weight, offset=1.0, eps=1e-5)
    wide = hidden.double()
    factor = (wide.square().mean(-1, keepdim=True) + 1e-5).rsqrt()
    normed, slope = wide * factor, grad_wide * (weight.double() + 1)
    back = (slope - normed * (slope * normed).mean(-1, keepdim=True)) * factor
    ours = kernels.norm_backward(grad, hidden, weight, scale, offset=1.0)
    return [(output, normed * (weight.double() + 1)), (scale, factor), (ours, back)]


def _gates(kernels: Kernels, source: _Source) -> list[Pair]:
    (gate, gate_wide), (up, up_wide), (grad, grad_wide) = (source.make_narrow(ROWS, WIDTH) for _ in range(3))
    sigmoid = torch.sigmoid(gate_wide)
    to_gate, to_up = kernels.swiglu_backward(grad, gate, up)
    slope = sigmoid * (1 + gate_wide * (1 - sigmoid))
    return [
        (kernels.swiglu_forward(gate, up), silu(gate_wide) * up_wide),
        (to_gate, grad_wide * up_wide * slope),
        (to_up, grad_wide * silu(gate_wide)),
    ]


def _rotations(kernels: Kernels, source: _Source) -> list[Pair]:
    heads, wide = source.make_narrow(1, ROWS, 3, WIDTH)
    angles = source.make_wide(1, ROWS, 1, WIDTH // 2)
    output = torch.empty(1, 3, ROWS, WIDTH, dtype=torch.bfloat16).transpose(1, 2)
    kernels.rotate(heads, angles.cos(), angles.sin(), output, sense=-1.0)
    radius = torch.ones((), dtype=torch.float64)
    turned = torch.view_as_complex(torch.stack(wide.chunk(2, -1), -1)) * torch.polar(radius, -angles.double())
    return [(output, torch.cat([turned.real, turned.imag], -1))]


def _weights(kernels: Kernels, source: _Source) -> list[Pair]:
    (query, query_wide), (key, key_wide) = source.make_narrow(2, 3, 128, WIDTH), source.make_narrow(2, 192, WIDTH)
    ours = kernels.weigh(query, kernels.pack_keys(key), slice(64, 128), seen=192, num_before=64, scaling=0.2)
    scores = query_wide[:, :, 64:] @ key_wide[:, None].transpose(-1, -2) * 0.2
    is_later = torch.ones(64, 192, dtype=torch.bool).triu(64 + 64 + 1)
    theirs = torch.softmax(scores.masked_fill(is_later, float("-inf")), -1)
    return [(ours, theirs), (ours[..., is_later], theirs[..., is_later])]


def _logps(kernels: Kernels, source: _Source) -> list[Pair]:
    products, wide = source.make_narrow(ROWS, WIDTH)
    targets = torch.arange(ROWS) % WIDTH
    logps = torch.log_softmax(wide, -1)
    expected = logps.gather(1, targets[:, None])[:, 0]
    alone = kernels.take_logps(products, targets, keeps_gradient=False)
    beside = kernels.take_logps(products, targets, keeps_gradient=True)
    gradient = torch.eye(WIDTH, dtype=torch.float64)[targets] - logps.exp()
    return [(alone, expected), (beside, expected), (products, gradient)]
