"""A base's own input embeddings as vectors of texts: the mean over a text's tokens, read without a tensor stack.

No model runs: the table is one tensor of the base's safetensors, mapped into memory, and only the rows of tokens that
occur are read. Good enough to tell what a text is about; blind to the order of its words.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from luthier.foundation.core.errors import ModelError
from luthier.instruments.text.tokens import TextTokenizer, load_tokenizer

INDEX_NAME: Final = "model.safetensors.index.json"
TENSOR_SUFFIX: Final = "embed_tokens.weight"
OTHER_SUFFIXES: Final = ("wte.weight", "embed_in.weight", "word_embeddings.weight", "tok_embeddings.weight")
NUMPY_TYPES: Final = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
MAX_HEADER_BYTES: Final = 100_000_000
BFLOAT16_SHIFT: Final = 16


@dataclass(frozen=True, slots=True)
class StaticEmbeddings:
    """The table and the tokenizer that goes with it.

    Attributes:
        tokenizer: The base's.
        table_VE: Input embeddings; bfloat16 as the upper halves of float32.
        dtype: As safetensors names it.

    Shapes:
        V tokens, E numbers a token.
    """

    tokenizer: TextTokenizer
    table_VE: NDArray[Any]
    dtype: str

    @property
    def width(self) -> int:
        """Numbers of a vector."""
        return int(self.table_VE.shape[1])

    def embed(self, token_ids: Sequence[NDArray[np.int32]]) -> NDArray[np.float32]:
        """Average the embeddings of each text's tokens.

        Args:
            token_ids: Ids by text.

        Returns:
            One vector a text, NaN for a text without tokens.

        Shapes:
            N texts: (N, E).
        """
        vectors_NE = np.full((len(token_ids), self.width), np.nan, dtype=np.float32)
        lengths = np.array([len(ids) for ids in token_ids], dtype=np.int64)
        has_tokens = lengths > 0
        if has_tokens.any():
            used, places = np.unique(np.concatenate(list(token_ids)), return_inverse=True)
            shares = np.repeat(1.0 / lengths[has_tokens], lengths[has_tokens]).astype(np.float32)
            starts = np.concatenate([[0], np.cumsum(lengths[has_tokens])])
            means = csr_array((shares, places, starts), shape=(int(has_tokens.sum()), len(used)))
            vectors_NE[has_tokens] = means @ self._read(used)
        return vectors_NE

    def _read(self, ids: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        rows = np.asarray(self.table_VE[ids])
        if self.dtype == "BF16":
            return (rows.astype(np.uint32) << BFLOAT16_SHIFT).view(np.float32)
        return rows.astype(np.float32, copy=False)


def open_embeddings(folder: Path) -> StaticEmbeddings:
    """Map a model folder's input embeddings.

    Args:
        folder: A folder with a tokenizer and safetensors, whole or in shards.

    Raises:
        ModelError: E-MON-008 where there is no such table, and what :func:`load_tokenizer` raises.
    """
    path, start, entry = _find_table(folder)
    shape = tuple(int(size) for size in entry["shape"])
    table = np.memmap(path, dtype=NUMPY_TYPES[entry["dtype"]], mode="r", offset=start, shape=shape)
    return StaticEmbeddings(load_tokenizer(folder), table, entry["dtype"])


def _find_table(folder: Path) -> tuple[Path, int, dict[str, Any]]:
    for path in _list_shards(folder):
        start, header = _read_header(path)
        for suffix in (TENSOR_SUFFIX, *OTHER_SUFFIXES):
            for name, entry in header.items():
                if name.endswith(suffix) and entry.get("dtype") in NUMPY_TYPES and len(entry.get("shape", ())) == 2:
                    return path, start + int(entry["data_offsets"][0]), entry
    raise _no_table(folder, f"no tensor that ends in {TENSOR_SUFFIX}")


def _list_shards(folder: Path) -> list[Path]:
    """Put the shard that the index names first, so that other headers need not be read."""
    index = folder / INDEX_NAME
    paths = sorted(folder.glob("*.safetensors"))
    if not index.is_file():
        return paths
    try:
        named = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        first = {folder / str(file) for name, file in named.items() if str(name).endswith(TENSOR_SUFFIX)}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _no_table(folder, f"{INDEX_NAME} cannot be read") from error
    return sorted(paths, key=lambda path: path not in first)


def _read_header(path: Path) -> tuple[int, dict[str, Any]]:
    """Read what a safetensors file says that it holds: eight bytes of length, little-endian, then JSON."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 0 < length <= min(MAX_HEADER_BYTES, path.stat().st_size):
            raise _no_table(path, "a damaged safetensors header")
        try:
            header = json.loads(stream.read(length))
        except ValueError as error:
            raise _no_table(path, "a damaged safetensors header") from error
    if not isinstance(header, dict):
        raise _no_table(path, "a damaged safetensors header")
    header.pop("__metadata__", None)
    return 8 + length, header


def _no_table(path: Path, got: str) -> ModelError:
    return ModelError(
        "E-MON-008",
        "the base's input embeddings cannot be read, so topics cannot be compared",
        got=got,
        origin=str(path),
        allowed="a model folder with safetensors in float32, float16 or bfloat16",
        fix="--base smollm2-135m-instruct",
    )
