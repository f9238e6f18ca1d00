"""The kernels as functions of tensors: who may call them, and what their arguments mean.

A caller asks :func:`find_kernels` with the tensors that it has and gets the kernels, or None where any of them lies
elsewhere, is not dense or has another precision; then it computes with torch.
"""

from __future__ import annotations

import ctypes
import warnings
from ctypes import c_float, c_int, c_long, c_void_p
from functools import cache
from typing import Any, Final

import torch
from torch import Tensor

from luthier.instruments.engine.kernels.build import TILE_KEYS, TILE_QUERIES, build
from luthier.instruments.engine.kernels.proof import disproves

ARGUMENTS: Final[dict[str, list[Any]]] = {
    "norm_forward": [c_void_p] * 4 + [c_long] * 2 + [c_float] * 2,
    "norm_backward": [c_void_p] * 5 + [c_long] * 2 + [c_float],
    "swiglu_forward": [c_void_p] * 3 + [c_long],
    "swiglu_backward": [c_void_p] * 5 + [c_long],
    "rotate": [c_void_p, c_long, c_long, c_void_p, c_void_p, c_long, c_void_p, *[c_long] * 5, c_float],
    "pack_keys": [c_void_p] * 2 + [c_long] * 3,
    "weigh": [c_void_p] * 3 + [c_long] * 9 + [c_float],
    "take_logps": [c_void_p] * 3 + [c_long] * 2 + [c_int],
}


class Kernels:
    """The compiled library. Tensors are dense, on a processor, bfloat16 unless said to be float32."""

    def __init__(self, library: ctypes.CDLL) -> None:
        """Declare what each function takes."""
        for name, arguments in ARGUMENTS.items():
            function = getattr(library, name)
            function.argtypes, function.restype = arguments, None
        library.weigh.restype = c_int
        self._library = library

    def norm_forward(self, hidden: Tensor, weight_D: Tensor, *, offset: float, eps: float) -> tuple[Tensor, Tensor]:
        """Divide each row by its root mean square and multiply with a weight.

        Args:
            hidden: Input in float32.
            weight_D: Weight in float32.
            offset: Added to the weight.
            eps: Added to the mean square.

        Returns:
            The output, and in float32 what each row was multiplied with.

        Shapes:
            (..., D) in and out, (..., 1) for the factors.
        """
        _demand(hidden.shape[-1] == len(weight_D), "a weight for each column")
        output = torch.empty(hidden.shape, dtype=torch.bfloat16, device="cpu")
        scale = torch.empty((*hidden.shape[:-1], 1), dtype=torch.float32, device="cpu")
        pointers = _point(hidden, weight_D, output, scale)
        self._library.norm_forward(*pointers, scale.numel(), len(weight_D), offset, eps)
        return output, scale

    def norm_backward(self, grad: Tensor, hidden: Tensor, weight_D: Tensor, scale: Tensor, *, offset: float) -> Tensor:
        """Return the gradient of a norm's input in float32; all but ``grad`` is float32, ``scale`` from forward."""
        _demand(grad.shape == hidden.shape and hidden.shape[-1] == len(weight_D), "a gradient like the input")
        grad_hidden = torch.empty_like(hidden)
        pointers = _point(grad, hidden, weight_D, scale, grad_hidden)
        self._library.norm_backward(*pointers, scale.numel(), len(weight_D), offset)
        return grad_hidden

    def swiglu_forward(self, gate: Tensor, up: Tensor) -> Tensor:
        """Return ``silu(gate) * up``."""
        _demand(gate.shape == up.shape, "gates like what they gate")
        output = torch.empty_like(gate)
        self._library.swiglu_forward(*_point(gate, up, output), output.numel())
        return output

    def swiglu_backward(self, grad: Tensor, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients of gate and up."""
        _demand(grad.shape == gate.shape == up.shape, "a gradient like the output")
        grad_gate, grad_up = torch.empty_like(gate), torch.empty_like(up)
        self._library.swiglu_backward(*_point(grad, gate, up, grad_gate, grad_up), grad.numel())
        return grad_gate, grad_up

    def rotate(self, heads: Tensor, cos: Tensor, sin: Tensor, output: Tensor, *, sense: float) -> None:
        """Turn heads by their positions and write them where they are wanted; heads and tokens may lie in any order.

        Args:
            heads: Queries, keys or their gradients.
            cos: Cosines of half a head, in float32.
            sin: Sines.
            output: Written.
            sense: 1 forwards, -1 back.

        Shapes:
            (1, N, H, K) for heads and output, (1, N, 1, K/2) for angles, whose last numbers lie side by side.
        """
        _demand(can_rotate(heads, cos, sin), "heads of one row and an angle for each token and pair")
        _demand(output.shape == heads.shape and output.stride(-1) == 1, "an output like the heads")
        _, num_tokens, num_heads, width = heads.shape
        pointers = _point(heads, cos, sin, output)
        self._library.rotate(
            pointers[0], *heads.stride()[1:3], *pointers[1:3], cos.stride(1), pointers[3], *output.stride()[1:3],
            num_tokens, num_heads, width // 2, sense,
        )  # fmt: skip

    def pack_keys(self, key_XTK: Tensor) -> Tensor:
        """Return keys in the order in which :meth:`weigh` multiplies them, as opaque numbers of the same count."""
        _demand(not (key_XTK.shape[1] % TILE_KEYS or key_XTK.shape[2] % 2), "whole tiles of keys, of even width")
        packed = torch.empty_like(key_XTK)
        self._library.pack_keys(*_point(key_XTK, packed), *key_XTK.shape)
        return packed

    def weigh(
        self, query_XRQK: Tensor, packed_XTK: Tensor, block: slice, *, seen: int, num_before: int, scaling: float
    ) -> Tensor:
        """Compute causal attention weights of a block of queries; products are summed in float32.

        Args:
            query_XRQK: All queries.
            packed_XTK: All keys, from :meth:`pack_keys`.
            block: Which queries.
            seen: How many keys the result has.
            num_before: Keys before the first query's own.
            scaling: Factor on the products.

        Returns:
            Weights; query q sees the first ``num_before + q + 1`` keys, the others weigh nothing.

        Raises:
            MemoryError: When a row of scores finds no memory.

        Shapes:
            X heads of keys, R query heads of each, Q queries, T keys, K width; the result is (X, R, block, seen).
            Blocks are multiples of 4 queries, keys of 64.
        """
        num_heads, heads_per_key, num_queries, width = query_XRQK.shape
        num, num_keys = block.stop - block.start, packed_XTK.shape[1]
        _demand(not (num % TILE_QUERIES or seen % TILE_KEYS), "whole tiles")
        _demand(num_before + block.stop <= seen <= num_keys and block.stop <= num_queries, "keys for all queries")
        weights = torch.empty(num_heads, heads_per_key, num, seen, dtype=torch.bfloat16, device="cpu")
        counts = (num_heads * heads_per_key, heads_per_key, num_queries, num_keys, width)
        pointers = _point(query_XRQK, packed_XTK, weights)
        if not self._library.weigh(*pointers, *counts, block.start, num, seen, num_before, scaling):
            raise MemoryError
        return weights

    def take_logps(self, products_MV: Tensor, target_ids_M: Tensor, *, keeps_gradient: bool) -> Tensor:
        """Return the targets' log-probabilities in float32; where asked, products become their gradient.

        Args:
            products_MV: Products of hidden states and head; overwritten where the gradient is kept.
            target_ids_M: Targets, int64.
            keeps_gradient: Whether the gradient is wanted.

        Raises:
            ValueError: When a target is none of the vocabulary.
        """
        num_rows, vocabulary = products_MV.shape
        is_plain = target_ids_M.dtype == torch.int64 and target_ids_M.is_contiguous()
        _demand(is_plain and target_ids_M.shape == (num_rows,), "a target for each row, int64")
        _demand(not num_rows or 0 <= int(target_ids_M.min()) <= int(target_ids_M.max()) < vocabulary, "known targets")
        logps_M = torch.empty(num_rows, dtype=torch.float32, device="cpu")
        pointers = _point(products_MV, target_ids_M, logps_M)
        self._library.take_logps(*pointers, *products_MV.shape, keeps_gradient)
        return logps_M


def _demand(holds: bool, what: str) -> None:  # noqa: FBT001  what would be an assertion, were it not for python -O
    """Stop before C reads or writes where nothing is."""
    if not holds:
        message = f"a kernel takes {what}"
        raise ValueError(message)


def _point(*tensors: Tensor) -> list[int]:
    return [tensor.data_ptr() for tensor in tensors]


@cache
def load_kernels() -> Kernels | None:
    """Return the kernels of this machine, compiled on first use and proven; None where there are none."""
    library = build().library
    kernels = None if library is None else Kernels(library)
    if kernels is not None and disproves(kernels):
        warnings.warn("the compiled kernels compute something else than their formulas; torch is used", stacklevel=2)
        return None
    return kernels


def find_kernels(*, narrow: tuple[Tensor, ...] = (), wide: tuple[Tensor, ...] = ()) -> Kernels | None:
    """Return the kernels where they take these tensors.

    Args:
        narrow: Tensors that must be dense and bfloat16.
        wide: Tensors that must be dense and float32.
    """
    is_taken = all(_is_dense(t, torch.bfloat16) for t in narrow) and all(_is_dense(t, torch.float32) for t in wide)
    return load_kernels() if is_taken else None


def can_rotate(heads_1NHK: Tensor, cos: Tensor, sin: Tensor) -> bool:
    """Tell whether :meth:`Kernels.rotate` takes heads, which need not be dense, and their angles."""
    num_rows, num_tokens, _, width = heads_1NHK.shape
    is_narrow = heads_1NHK.dtype == torch.bfloat16 and heads_1NHK.device.type == "cpu" and num_rows == 1
    is_wide = cos.dtype == torch.float32 == sin.dtype and cos.shape == (1, num_tokens, 1, width // 2) == sin.shape
    is_beside = heads_1NHK.stride(-1) == 1 == cos.stride(-1) and cos.stride() == sin.stride() and width % 2 == 0
    return is_narrow and is_wide and is_beside


def _is_dense(tensor: Tensor, dtype: torch.dtype) -> bool:
    return tensor.dtype == dtype and tensor.device.type == "cpu" and tensor.is_contiguous()
