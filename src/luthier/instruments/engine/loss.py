"""Log-probabilities and loss without the logits of the batch.

The head runs only at positions that predict a trained token, in chunks. Where the head is frozen, the gradient to the
hidden states is known as soon as a chunk's logits are, so it is kept in their place and the backward pass only scales
it. Where the head is trained, the backward pass computes each chunk's logits again.

Every objective is a function of these log-probabilities, so all share this file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from luthier.instruments.engine.kernels.calls import find_kernels
from luthier.instruments.engine.tiles import TILE, count_filler, fill

CHUNK_BYTES = 32 * 2**20  # of float32 logits: small enough to stay near the caches, large enough for full speed


@dataclass(frozen=True)
class HeadForm:
    """How a head turns products into logits: scaled, then softly capped.

    Attributes:
        scale: Factor on the products (Granite divides, Cohere multiplies).
        softcap: Bound on logits by ``softcap * tanh(logits / softcap)`` (Gemma); None leaves them.
    """

    scale: float = 1.0
    softcap: float | None = None


PLAIN = HeadForm()


def choose_chunk_tokens(vocabulary: int) -> int:
    """Return how many positions' logits are held at once.

    Args:
        vocabulary: Width of the head.
    """
    chunk = max(16, CHUNK_BYTES // (4 * vocabulary))
    return chunk - chunk % TILE if chunk > TILE else chunk


def compute_logits(hidden_MD: Tensor, head_weight_VD: Tensor, form: HeadForm = PLAIN) -> Tensor:
    """Compute logits in float32 or better.

    Args:
        hidden_MD: Last hidden states.
        head_weight_VD: The head.
        form: Scale and soft cap.

    Returns:
        Logits.

    Shapes:
        M positions, D model width, V vocabulary; the result is (M, V).
    """
    logits_MV = linear(hidden_MD.to(head_weight_VD.dtype), head_weight_VD)
    logits_MV = logits_MV if logits_MV.dtype == torch.float64 else logits_MV.float()
    if form.scale != 1.0:
        logits_MV = logits_MV * form.scale
    if form.softcap is not None:
        logits_MV = torch.tanh(logits_MV / form.softcap) * form.softcap
    return logits_MV


def chunked_logps(
    hidden_MD: Tensor,
    head_weight_VD: Tensor,
    target_ids_M: Tensor,
    *,
    chunk_tokens: int | None = None,
    form: HeadForm = PLAIN,
) -> Tensor:
    """Compute the log-probability of each target, chunk by chunk.

    Args:
        hidden_MD: Hidden states at the positions that predict.
        head_weight_VD: The head's weight, frozen or trained.
        target_ids_M: Tokens to be predicted.
        chunk_tokens: Positions whose logits exist at once; None takes a size that fits caches.
        form: Scale and soft cap of the head.

    Returns:
        Log-probabilities, differentiable once in the hidden states and in the head.

    Shapes:
        M targets, D model width, V vocabulary; the result is (M,).

    Units:
        Nats.

    Numerics:
        Softmax in float32 (float64 where the inputs are), whatever precision the products run in.
    """
    chunk = chunk_tokens or choose_chunk_tokens(head_weight_VD.shape[0])
    device = hidden_MD.device.type
    if torch.is_autocast_enabled(device):
        head_weight_VD = head_weight_VD.to(torch.get_autocast_dtype(device))
    num_targets = len(target_ids_M)
    num_filler = count_filler(num_targets, hidden_MD)
    hidden_MD, target_ids_M = (fill(t, num_filler, dim=0) for t in (hidden_MD, target_ids_M))
    logps_M: Tensor = _ChunkedLogps.apply(hidden_MD, head_weight_VD, target_ids_M, chunk, form)  # type: ignore[no-untyped-call]
    return logps_M[:num_targets]


def chunked_nll(
    hidden_MD: Tensor,
    head_weight_VD: Tensor,
    target_ids_M: Tensor,
    weights_M: Tensor,
    chunk_tokens: int | None = None,
    *,
    form: HeadForm = PLAIN,
) -> tuple[Tensor, Tensor]:
    """Sum the weighted negative log-probabilities of the targets.

    Args:
        hidden_MD: Hidden states at the positions that predict.
        head_weight_VD: The head's weight, frozen or trained.
        target_ids_M: Tokens to be predicted.
        weights_M: Weight of each target's loss.
        chunk_tokens: Positions whose logits exist at once; None takes a size that fits caches.
        form: Scale and soft cap of the head.

    Returns:
        The sum of weighted losses, and the sum of weights. A step divides once, by the sum over all its packs.

    Shapes:
        M targets, D model width, V vocabulary; both results are scalars.

    Units:
        Nats.
    """
    logps_M = chunked_logps(hidden_MD, head_weight_VD, target_ids_M, chunk_tokens=chunk_tokens, form=form)
    return -(logps_M * weights_M.to(logps_M.dtype)).sum(), weights_M.sum()


def _chunk_logps(hidden_MD: Tensor, weight_VD: Tensor, target_ids_M: Tensor, form: HeadForm) -> Tensor:
    """Return the targets' log-probabilities, to the bit those of :func:`_chunk_gradient`.

    A preference objective subtracts one from the other, and a model that is still its base must gain nothing.
    """
    taken = _take_in_one_pass(hidden_MD, weight_VD, target_ids_M, form, keeps_gradient=False)
    if taken is not None:
        return taken[0]
    logits_MV = compute_logits(hidden_MD, weight_VD, form)
    return logits_MV.gather(1, target_ids_M[:, None])[:, 0] - torch.logsumexp(logits_MV, dim=-1)


def _chunk_gradient(
    hidden_MD: Tensor, weight_VD: Tensor, target_ids_M: Tensor, form: HeadForm
) -> tuple[Tensor, Tensor]:
    """Return the targets' log-probabilities, and their gradient as the next product takes it."""
    taken = _take_in_one_pass(hidden_MD, weight_VD, target_ids_M, form, keeps_gradient=True)
    return taken or _logits_gradient(hidden_MD, weight_VD, target_ids_M, form)


def _logits_gradient(
    hidden_MD: Tensor, weight_VD: Tensor, target_ids_M: Tensor, form: HeadForm
) -> tuple[Tensor, Tensor]:
    """Return the targets' log-probabilities and their gradient to the products of hidden state and head."""
    logits_MV = compute_logits(hidden_MD, weight_VD, form)
    normaliser_M = torch.logsumexp(logits_MV, dim=-1)
    target_logits_M1 = logits_MV.gather(1, target_ids_M[:, None])
    logps_M = target_logits_M1[:, 0] - normaliser_M
    slope_MV = None if form.softcap is None else 1.0 - (logits_MV / form.softcap) ** 2
    gradient_MV = logits_MV.sub_(normaliser_M[:, None]).exp_().neg_()
    gradient_MV.scatter_add_(1, target_ids_M[:, None], torch.ones_like(target_logits_M1))
    if slope_MV is not None:
        gradient_MV.mul_(slope_MV)
    if form.scale != 1.0:
        gradient_MV.mul_(form.scale)
    return logps_M, gradient_MV


def _take_in_one_pass(
    hidden_MD: Tensor, weight_VD: Tensor, target_ids_M: Tensor, form: HeadForm, *, keeps_gradient: bool
) -> tuple[Tensor, Tensor] | None:
    """Let a kernel read the products once where it can, logits never existing in float32; None where it cannot."""
    kernels = find_kernels(narrow=(weight_VD,)) if form == PLAIN else None
    if kernels is None:
        return None
    products_MV = linear(hidden_MD.to(weight_VD.dtype), weight_VD)
    logps_M = kernels.take_logps(products_MV, target_ids_M.contiguous(), keeps_gradient=keeps_gradient)
    return logps_M, products_MV


class _ChunkedLogps(torch.autograd.Function):
    """Log-probabilities whose logits exist one chunk at a time, in both passes."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401  autograd's context
        hidden_MD: Tensor,
        weight_VD: Tensor,
        target_ids_M: Tensor,
        chunk: int,
        form: HeadForm,
    ) -> Tensor:
        needs_hidden, needs_weight = ctx.needs_input_grad[:2]
        keeps_gradient = needs_hidden and not needs_weight
        wide = torch.float64 if weight_VD.dtype == torch.float64 else torch.float32
        logps_M = torch.empty(len(target_ids_M), dtype=wide, device=hidden_MD.device)
        gradient_MD = torch.empty_like(hidden_MD, dtype=weight_VD.dtype) if keeps_gradient else None
        for start in range(0, len(target_ids_M), chunk):  # in place: what outlives a chunk would split its freed logits
            part = slice(start, start + chunk)
            if gradient_MD is not None:
                logps_M[part], gradient_CV = _chunk_gradient(hidden_MD[part], weight_VD, target_ids_M[part], form)
                torch.mm(gradient_CV.to(weight_VD.dtype), weight_VD, out=gradient_MD[part])
            else:
                logps_M[part] = _chunk_logps(hidden_MD[part], weight_VD, target_ids_M[part], form)
        ctx.keeps_gradient, ctx.chunk, ctx.form, ctx.hidden_dtype = keeps_gradient, chunk, form, hidden_MD.dtype
        if gradient_MD is not None:
            ctx.save_for_backward(gradient_MD)
        else:
            ctx.save_for_backward(hidden_MD, weight_VD, target_ids_M)
        return logps_M

    @staticmethod
    def backward(ctx: Any, grad_M: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401  autograd's context
        if ctx.keeps_gradient:
            (gradient_MD,) = ctx.saved_tensors
            return (gradient_MD * grad_M[:, None]).to(ctx.hidden_dtype), None, None, None, None
        hidden_MD, weight_VD, target_ids_M = ctx.saved_tensors
        grad_hidden, grad_weight_VD = [], torch.zeros_like(weight_VD)
        for hidden_CD, target_ids_C, grad_C in zip(
            hidden_MD.split(ctx.chunk), target_ids_M.split(ctx.chunk), grad_M.split(ctx.chunk), strict=True
        ):
            _, gradient_CV = _logits_gradient(hidden_CD, weight_VD, target_ids_C, ctx.form)
            gradient_CV = gradient_CV.mul_(grad_C[:, None]).to(weight_VD.dtype)
            grad_hidden.append(gradient_CV @ weight_VD)
            grad_weight_VD.addmm_(gradient_CV.T, hidden_CD.to(weight_VD.dtype))
        return torch.cat(grad_hidden).to(hidden_MD.dtype), grad_weight_VD, None, None, None
