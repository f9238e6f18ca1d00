"""A GGUF file as it describes itself: architecture, tensors, licence. Its weights are read by ``gguf_convert``."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gguf import GGUFReader, ReaderTensor

from luthier.foundation.core.errors import ModelError

MAGIC: Final = b"GGUF"
FLOAT32_BYTES: Final = 4
SPARE_BYTES: Final = 64 << 20  # tokenizer and configuration


@dataclass(frozen=True)
class GgufFile:
    """One file, its metadata read, its tensors mapped into memory."""

    path: Path
    metadata: dict[str, Any]
    tensors: Sequence[ReaderTensor]

    @property
    def architecture(self) -> str:
        """Name of the architecture, such as ``llama``; empty where the file says none."""
        return str(self.metadata.get("general.architecture", ""))

    @property
    def licence(self) -> str:
        """What the file says of its licence; empty where it says nothing."""
        return str(self.metadata.get("general.license", ""))

    @property
    def num_parameters(self) -> int:
        """All weights, each tensor once."""
        return sum(int(tensor.n_elements) for tensor in self.tensors)

    @property
    def converted_bytes(self) -> int:
        """Disk that the model needs as a plain folder in float32."""
        return FLOAT32_BYTES * self.num_parameters + SPARE_BYTES

    @property
    def formats(self) -> dict[str, int]:
        """How many tensors have which number format, the most frequent first."""
        return dict(Counter(tensor.tensor_type.name for tensor in self.tensors).most_common())

    def number(self, key: str, *default: int) -> int:
        """Return an integer of the architecture's own keys, such as ``llama.block_count``.

        Raises:
            ModelError: E-MOD-003 when it is missing and there is no default.
        """
        return int(self._get(f"{self.architecture}.{key}", *default))

    def real(self, key: str, *default: float) -> float:
        """Return a real number of the architecture's own keys; errors as in :meth:`number`."""
        return float(self._get(f"{self.architecture}.{key}", *default))

    def token_id(self, kind: str) -> int | None:
        """Return the id of a token by its part, such as ``eos``; None where the file names none."""
        found = self.metadata.get(f"tokenizer.ggml.{kind}_token_id")
        return None if found is None else int(found)

    def _get(self, key: str, *default: float) -> Any:  # noqa: ANN401  whatever the file holds
        if key in self.metadata or default:
            return self.metadata.get(key, *default)
        raise self.refuse(key, allowed="the keys that llama.cpp writes")

    def refuse(self, what: str, *, allowed: str, got: object = "nothing") -> ModelError:
        """Make the error for a file that is whole but not one that is converted."""
        return ModelError(
            "E-MOD-003",
            f"the GGUF file's {what} is not one that is converted",
            got=got,
            origin=self.path.name,
            allowed=allowed,
            fix="use a folder with safetensors of the same model",
        )


def open_gguf(path: Path) -> GgufFile:
    """Read a file's metadata and its list of tensors.

    Raises:
        ModelError: E-MOD-002 for a file that is damaged or no GGUF.
    """
    try:
        with path.open("rb") as stream:
            begins = stream.read(len(MAGIC))
        if begins != MAGIC:
            raise _damaged(path, f"it begins with {begins!r}, not with {MAGIC!r}")
        reader = GGUFReader(path)
        metadata = {name: field.contents() for name, field in reader.fields.items()}
        return GgufFile(path, metadata, reader.tensors)
    except (ValueError, KeyError, IndexError, TypeError, struct.error, OverflowError) as error:
        if isinstance(error, ModelError):
            raise
        raise _damaged(path, f"{type(error).__name__}: {error}") from error


def find_gguf(path: Path) -> Path | None:
    """Return the GGUF file that a path means: itself, or the one in a folder that is no model folder; else None.

    Raises:
        ModelError: E-MOD-004 for a folder with several.
    """
    if path.is_file():
        return path if path.suffix.lower() == ".gguf" else None
    if not path.is_dir() or (path / "config.json").is_file():
        return None
    found = sorted(path.glob("*.gguf"))
    if len(found) > 1:
        raise ModelError(
            "E-MOD-004",
            "the folder holds several GGUF files",
            got=", ".join(file.name for file in found[:6]),
            origin=str(path),
            allowed="one of them",
            fix=str(found[0]),
        )
    return found[0] if found else None


def _damaged(path: Path, how: str) -> ModelError:
    return ModelError(
        "E-MOD-002",
        f"the GGUF file cannot be read: {how}",
        got=f"{path.name}, {path.stat().st_size} bytes",
        origin=str(path.parent),
        allowed="an undamaged GGUF file",
        fix="copy the file again",
    )
