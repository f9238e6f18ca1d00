"""The papers of a run: the recipe as resolved, where each value came from, and what it ran on."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import yaml

from luthier.foundation.core.errors import RecipeError
from luthier.foundation.core.files import FileSystem, write_atomic, write_folder_atomic
from luthier.foundation.core.hashing import canonical_json
from luthier.foundation.recipe.nodes import parse_scalar
from luthier.foundation.recipe.resolve import ResolvedRecipe
from luthier.foundation.recipe.text import RECIPE_NAME
from luthier.instruments.engine.kernels.build import describe as describe_kernels

PACKAGES: Final = ("luthier", "torch", "transformers", "tokenizers", "peft", "accelerate", "safetensors", "numpy")
THREAD_VARIABLES: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
_TAG: Final = "tag:yaml.org,2002:"


def write_papers(folder: Path, resolved: ResolvedRecipe, *, fs: FileSystem) -> None:
    """Write ``recipe.yaml`` (runs again as it is), ``origins.json`` and ``environment.json``."""
    write_atomic(folder / RECIPE_NAME, dump_recipe(resolved.to_mapping()), fs=fs)
    write_atomic(folder / "origins.json", _to_bytes(dict(resolved.origins)), fs=fs)
    write_atomic(folder / "environment.json", _to_bytes(describe_environment(resolved.base_folder)), fs=fs)


def dump_recipe(recipe: Mapping[str, Any]) -> bytes:
    """Write a recipe as YAML that comes back as the same values."""
    return yaml.dump(dict(recipe), Dumper=_Writer, sort_keys=False, allow_unicode=True).encode()


def write_recipe_folder(
    target: Path, recipe: Mapping[str, Any], files: Mapping[str, Sequence[Mapping[str, Any]]]
) -> None:
    """Write ``recipe.yaml`` and the rows that it names into a new folder, whole or not at all.

    Args:
        target: A folder that is not there yet.
        recipe: In recipe syntax.
        files: Rows by file name, one canonical JSON object a line.

    Raises:
        RecipeError: E-REC-014 for a target that is there.
        StoreError: E-ENV-003 when the disk is full.
    """
    if target.exists():
        raise RecipeError(
            "E-REC-014",
            "the folder to write is there already",
            got=str(target),
            allowed="a folder that is not there yet",
            fix=f"give another one, or remove it: rm -r {target}",
        )

    def fill(place: Path) -> None:
        for name, rows in files.items():
            (place / name).write_bytes(b"".join(canonical_json(dict(row)) + b"\n" for row in rows))
        (place / RECIPE_NAME).write_bytes(dump_recipe(recipe))

    write_folder_atomic(target, fill)


def describe_environment(recipe_folder: Path) -> dict[str, Any]:
    """Return versions, host, threads, kernels and the recipe's commit, without importing what is described.

    Args:
        recipe_folder: Where the recipe lies; the git repository around it is asked.
    """
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "host": platform.node(),
        "num_cores": os.cpu_count(),
        "packages": {name: _find_version(name) for name in PACKAGES},
        "variables": {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ},
        "kernels": describe_kernels(),
        "git": find_commit(recipe_folder),
    }


def find_commit(folder: Path) -> str | None:
    """Return the commit that is checked out around a folder; None where there is none or it cannot be read."""
    try:
        return _read_commit(folder)
    except (OSError, UnicodeDecodeError):  # a note for people; a run does not end for want of it
        return None


def _read_commit(folder: Path) -> str | None:
    """Read git's own files, so that git need not be installed."""
    places = (parent / ".git" for parent in (folder.resolve(), *folder.resolve().parents))
    place = next((each for each in places if each.exists()), None)
    if place is None:
        return None
    if place.is_file():  # a worktree or a submodule: the file says where its folder is
        place = place.parent / place.read_text(encoding="utf-8").removeprefix("gitdir:").strip()
    name = _read(place / "HEAD")
    if not name.startswith("ref: "):
        return name or None
    shared = place / (_read(place / "commondir") or ".")
    name = name.removeprefix("ref: ")
    packed = (line.split() for line in _read(shared / "packed-refs").splitlines() if not line.startswith(("#", "^")))
    commits = {words[1]: words[0] for words in packed if len(words) == 2}
    return _read(place / name) or _read(shared / name) or commits.get(name)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""


class _Writer(yaml.SafeDumper):
    """Puts in quotes what a recipe's reader, which goes by YAML 1.2, would take for a number: ``1e5``, ``0o7``."""


def _write_text(writer: _Writer, text: str) -> yaml.ScalarNode:
    return writer.represent_scalar(f"{_TAG}str", text, style=None if parse_scalar(text) == text else "'")


_Writer.add_representer(str, _write_text)


def _find_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _to_bytes(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()
