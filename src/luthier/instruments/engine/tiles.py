"""Row counts that recur, where a product's kernel is compiled for each.

In bfloat16 on a processor torch hands products to oneDNN, which compiles a kernel for every shape that it meets and
keeps a thousand of them, half a megabyte each. Packs and rows of many lengths are many shapes. So streams are filled
up to a multiple of :data:`TILE` rows, which belong to no segment and reach no loss: a training step is a twentieth
faster and a run holds half a gigabyte less. In float32 and float64 nothing is filled.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import pad

from luthier.instruments.engine.fused import product_dtype

TILE: Final = 64


def count_filler(num_rows: int, example: Tensor) -> int:
    """Return how many rows fill a product up.

    Args:
        num_rows: Rows that are there.
        example: A tensor of the model, for its device and precision.
    """
    is_compiled = example.device.type == "cpu" and product_dtype(example) == torch.bfloat16
    return -num_rows % TILE if is_compiled else 0


def fill(tensor: Tensor, num_filler: int, *, dim: int) -> Tensor:
    """Append zeros along a dimension."""
    if not num_filler:
        return tensor
    return pad(tensor, [0, 0] * (tensor.ndim - 1 - dim % tensor.ndim) + [0, num_filler])
