"""Tensors to a safetensors file through our file system, piece by piece: no pickle, no second copy in memory.

The library's own writer reports a full disk as an error of its own kind, needs the whole file in memory to go
through an injected file system, and orders metadata by chance, so that equal weights get unequal digests. The
format itself is a header and the bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import load_file
from torch import Tensor

from luthier.foundation.core.files import REAL, FileSystem

DTYPE_NAMES: Final = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], *, metadata: Mapping[str, str] | None = None, fs: FileSystem = REAL
) -> None:
    """Write named tensors as a safetensors file; the same tensors always give the same bytes.

    Args:
        path: The file.
        tensors: On any device, of any layout.
        metadata: Texts by key, kept in the header.
        fs: File system to write through.

    Source:
        Format: safetensors README, version 0.4. Wide types come first, so that every tensor is aligned.
    """
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    fs.write_chunks(path, _chunks(names, tensors, dict(sorted((metadata or {}).items()))))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file, whose bytes were verified before, into memory on the CPU."""
    tensors: dict[str, Tensor] = load_file(path, device="cpu")
    return tensors


def _chunks(names: list[str], tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> Iterator[bytes | memoryview]:
    header: dict[str, Mapping[str, object]] = {"__metadata__": metadata} if metadata else {}
    offset = 0
    for name in names:
        tensor = tensors[name]
        end = offset + tensor.numel() * tensor.element_size()
        shape = list(tensor.shape)
        header[name] = {"dtype": DTYPE_NAMES[tensor.dtype], "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little")
    yield text
    for name in names:
        flat = tensors[name].detach().cpu().contiguous().reshape(-1)
        yield flat.view(torch.uint8).numpy().data
