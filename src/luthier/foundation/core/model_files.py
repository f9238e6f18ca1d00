"""Which files of a folder make a model, and the one digest that names them wherever they lie."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from luthier.foundation.core.files import MANIFEST_NAME
from luthier.foundation.core.hashing import sha256_file, sha256_json

IGNORED_NAMES: Final = frozenset({MANIFEST_NAME, ".gitattributes", "README.md", "LICENSE", "origin.json"})

PICKLE_SUFFIXES: Final = frozenset(
    {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".msgpack", ".h5"}
)
"""Formats of weights that are pickles, may hold one, or can run code in another way when they are read."""


def is_pickle(path: Path) -> bool:
    """Tell by its name whether reading a file could run code."""
    return path.suffix.lower() in PICKLE_SUFFIXES


def list_model_files(folder: Path) -> list[Path]:
    """List the files that make the model, sorted by name; notices and our own manifest are left out."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.name not in IGNORED_NAMES)
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def compute_weights_digest(folder: Path) -> str:
    """Return the digest over names and sha256 of all model files: the model's identity, wherever it lies."""
    return sha256_json({path.relative_to(folder).as_posix(): sha256_file(path) for path in list_model_files(folder)})
