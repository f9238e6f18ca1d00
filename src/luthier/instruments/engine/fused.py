"""The same arithmetic in fewer passes over memory: norms, gated activations, adapted linear layers.

Each is one autograd function that keeps only what its backward pass needs and reads each tensor once where
transformers' and PEFT's own code reads it several times. On a CPU in bfloat16 those passes, not the products, take
most of the time. ``fuse_modules`` puts them in place of modules whose numbers they reproduce, checked on random
input at the door; what it does not recognise stays as it is.

Under autocast a norm hands on bfloat16, since the linear layers behind it would cast it in any case, each for itself.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, silu

from luthier.instruments.engine.kernels.calls import find_kernels

CHECK_ROWS: Final = 4
CHECK_TOLERANCE: Final = {torch.float64: 1e-6, torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}


def fuse_modules(model: nn.Module) -> int:
    """Replace the forward pass of norms and gated layers that are recognised and verified.

    Args:
        model: Changed in place; parameters and names stay.

    Returns:
        How many modules were replaced.
    """
    num_fused = 0
    for module in list(model.modules()):
        if "forward" in vars(module):
            continue  # somebody else's forward is in place
        for candidate, width in _candidates(module):
            if _reproduces(module, candidate, width):
                module.forward = candidate
                num_fused += 1
                break
    return num_fused


def _candidates(module: nn.Module) -> list[tuple[Any, int]]:
    weight = getattr(module, "weight", None)
    if type(module).__name__.endswith("RMSNorm") and isinstance(weight, nn.Parameter) and weight.ndim == 1:
        eps = float(getattr(module, "variance_epsilon", None) or getattr(module, "eps", None) or 1e-6)
        return [(partial(_norm_forward, module, offset, eps), len(weight)) for offset in (0.0, 1.0)]
    gate = getattr(module, "gate_proj", None)
    if isinstance(gate, nn.Linear) and all(hasattr(module, name) for name in ("up_proj", "down_proj", "act_fn")):
        return [(partial(_gated_forward, module), gate.in_features)]
    return []


@torch.no_grad()
def _reproduces(module: nn.Module, candidate: Any, width: int) -> bool:  # noqa: ANN401  a forward function
    parameter = next(module.parameters())
    generator = torch.Generator().manual_seed(0)
    input_BTI = torch.randn(1, CHECK_ROWS, width, generator=generator).to(parameter)
    theirs, ours = module(input_BTI), candidate(input_BTI)
    distance = float((ours.double() - theirs.double()).norm() / theirs.double().norm().clamp_min(1e-30))
    return bool(distance < CHECK_TOLERANCE.get(parameter.dtype, 0.0))


def _norm_forward(module: Any, offset: float, eps: float, hidden: Tensor) -> Tensor:  # noqa: ANN401
    output: Tensor = _RMSNorm.apply(hidden, module.weight, offset, eps, product_dtype(hidden))  # type: ignore[no-untyped-call]
    return output


def _gated_forward(module: Any, x: Tensor) -> Tensor:  # noqa: ANN401
    gated: Tensor = _SwiGLU.apply(module.gate_proj(x), module.up_proj(x))  # type: ignore[no-untyped-call]
    output: Tensor = module.down_proj(gated)
    return output


def product_dtype(tensor: Tensor) -> torch.dtype:
    """Return what products are computed in: autocast's choice where it is on."""
    device = tensor.device.type
    autocast_dtype: torch.dtype = torch.get_autocast_dtype(device)
    return autocast_dtype if torch.is_autocast_enabled(device) else tensor.dtype


def adapted_linear(
    x: Tensor, weight_OI: Tensor, bias_O: Tensor | None, down_RI: Tensor, up_OR: Tensor, *, scaling: float
) -> Tensor:
    """Compute a frozen linear layer and the low-rank update beside it.

    Args:
        x: Input, of any precision; products run in that of the weight.
        weight_OI: Frozen weight.
        bias_O: Frozen bias.
        down_RI: Trained thin matrix that reads.
        up_OR: Trained thin matrix that writes.
        scaling: Factor on the update.

    Returns:
        Output in the weight's precision.

    Shapes:
        ``x`` is (..., I), the result (..., O).
    """
    output_NO = _AdaptedLinear.apply(  # type: ignore[no-untyped-call]
        x.flatten(0, -2), weight_OI, bias_O, down_RI, up_OR, scaling
    )
    output: Tensor = output_NO.unflatten(0, x.shape[:-1])
    return output


class WeightCopies:
    """Frozen weights in the precision that products run in, cast once instead of at every use."""

    def __init__(self) -> None:
        """Start empty."""
        self._copies: dict[int, tuple[int, Tensor]] = {}

    def get(self, weight: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the weight in a precision; cast again after it was changed in place."""
        if weight.dtype == dtype:
            return weight
        version, copy = self._copies.get(id(weight), (-1, weight))
        if version != weight._version or copy.dtype != dtype:
            with torch.inference_mode(mode=False):  # the same copy serves answers and gradients
                copy = weight.detach().to(dtype)
            self._copies[id(weight)] = (weight._version, copy)
        return copy


class _RMSNorm(torch.autograd.Function):
    """Root-mean-square norm: keeps its input and one number a token."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401  autograd's context
        hidden: Tensor,
        weight_D: Tensor,
        offset: float,
        eps: float,
        dtype: torch.dtype,
    ) -> Tensor:
        ctx.offset = offset
        kernels = find_kernels(wide=(hidden, weight_D)) if dtype == torch.bfloat16 else None
        if kernels is not None:
            output, scale = kernels.norm_forward(hidden, weight_D, offset=offset, eps=eps)
        else:
            wide = hidden.float()  # as transformers does, whatever it is given
            scale = torch.rsqrt(wide.square().mean(-1, keepdim=True).add_(eps))
            output = (wide * scale).mul_(weight_D + offset if offset else weight_D).to(dtype)
        ctx.save_for_backward(hidden, weight_D, scale)
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401  autograd's context
        hidden, weight_D, scale = ctx.saved_tensors
        kernels = None if ctx.needs_input_grad[1] else find_kernels(narrow=(grad,), wide=(hidden, weight_D))
        if kernels is not None:
            return kernels.norm_backward(grad, hidden, weight_D, scale, offset=ctx.offset), None, None, None, None
        normed = hidden.to(scale.dtype) * scale
        grad = grad.to(scale.dtype)
        grad_weight_D = None
        if ctx.needs_input_grad[1]:
            grad_weight_D = (grad * normed).flatten(0, -2).sum(0).to(weight_D.dtype)
        grad = grad * (weight_D + ctx.offset if ctx.offset else weight_D)
        dot = (grad * normed).mean(-1, keepdim=True)
        grad_hidden = grad.addcmul_(normed, dot, value=-1.0).mul_(scale)
        return grad_hidden.to(hidden.dtype), grad_weight_D, None, None, None


class _SwiGLU(torch.autograd.Function):
    """``silu(gate) * up``: keeps its two inputs only."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:  # noqa: ANN401  autograd's context
        ctx.save_for_backward(gate, up)
        kernels = find_kernels(narrow=(gate, up))
        return silu(gate).mul_(up) if kernels is None else kernels.swiglu_forward(gate, up)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN401  autograd's context
        gate, up = ctx.saved_tensors
        kernels = find_kernels(narrow=(grad, gate, up))
        if kernels is not None:
            return kernels.swiglu_backward(grad, gate, up)
        grad_gate = torch.ops.aten.silu_backward(grad * up, gate)
        return grad_gate, silu(gate).mul_(grad)


class _AdaptedLinear(torch.autograd.Function):
    """``x W' + s (x A') B'`` with W frozen: keeps the input in the products' precision and its R-wide image."""

    @staticmethod
    def forward(  # noqa: PLR0913  autograd hands over positions only
        ctx: Any,  # noqa: ANN401  autograd's context
        x_NI: Tensor,
        weight_OI: Tensor,
        bias_O: Tensor | None,
        down_RI: Tensor,
        up_OR: Tensor,
        scaling: float,
    ) -> Tensor:
        dtype = weight_OI.dtype
        ctx.x_dtype, ctx.scaling = x_NI.dtype, scaling
        x_NI = x_NI.to(dtype)
        image_NR = linear(x_NI, down_RI.to(dtype))
        output_NO = linear(x_NI, weight_OI, None if bias_O is None else bias_O.to(dtype))
        output_NO.addmm_(image_NR, up_OR.to(dtype).T, alpha=scaling)
        ctx.save_for_backward(x_NI, weight_OI, down_RI, up_OR, image_NR)
        return output_NO

    @staticmethod
    def backward(ctx: Any, grad_NO: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401  autograd's context
        x_NI, weight_OI, down_RI, up_OR, image_NR = ctx.saved_tensors
        grad_NO = grad_NO.to(weight_OI.dtype)
        grad_image_NR = (grad_NO @ up_OR.to(grad_NO.dtype)).mul_(ctx.scaling)
        grad_up_OR = (grad_NO.T @ image_NR).to(up_OR.dtype).mul_(ctx.scaling)
        grad_down_RI = (grad_image_NR.T @ x_NI).to(down_RI.dtype)
        grad_x_NI = None
        if ctx.needs_input_grad[0]:
            grad_x_NI = (grad_NO @ weight_OI).addmm_(grad_image_NR, down_RI.to(grad_NO.dtype)).to(ctx.x_dtype)
        return grad_x_NI, None, None, grad_down_RI, grad_up_OR, None
