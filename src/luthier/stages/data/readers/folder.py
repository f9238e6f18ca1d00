"""A folder as a source: all files of rows below it, or all plain texts where there are none, by their paths."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NoReturn

from luthier.foundation.core.errors import DataError

SUFFIXES: Final = frozenset({".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet"})
TEXT_SUFFIX: Final = ".txt"
PACKED_SUFFIXES: Final = frozenset({".gz", ".zst"})
SHOWN_NAMES: Final = 5


def find_suffix(path: Path) -> str:
    """Return what a file's name says of its format, packing aside: ``.csv`` of ``rows.csv.gz``."""
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in PACKED_SUFFIXES]
    return suffixes[-1] if suffixes else ""


def list_files(folder: Path) -> list[Path]:
    """Return the files of rows below a folder; hidden ones, links that stay inside and other files are passed over.

    Texts are rows where nothing else is: beside files of rows they are licences and notes.

    Raises:
        DataError: E-DAT-001 for a folder that cannot be listed, E-DAT-034 for a link that leads out, or for nothing.
    """
    found: list[Path] = []
    others: list[Path] = []
    root = folder.resolve()
    for path in _walk(folder):
        if path.is_symlink():
            _refuse_link_out(path, root)
        elif path.is_file():
            (found if find_suffix(path) in SUFFIXES else others).append(path)
    found = found or [path for path in others if find_suffix(path) == TEXT_SUFFIX]
    if not found:
        raise DataError(
            "E-DAT-034",
            "the folder holds no file of rows",
            got=", ".join(sorted(path.name for path in others)[:SHOWN_NAMES]) or "no files",
            origin=str(folder),
            allowed=f"files named {', '.join(sorted(SUFFIXES))} or {TEXT_SUFFIX}, plain, .gz or .zst",
            fix="name the file itself, or rename it by its format",
        )
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def _walk(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> NoReturn:
        raise DataError(
            "E-DAT-001",
            f"a folder cannot be listed: {error.strerror}",
            got=str(error.filename),
            allowed="folders that this user may read",
            fix=f"chmod u+rx {error.filename}",
        ) from error

    for place, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        linked = [name for name in folders if (Path(place) / name).is_symlink()]
        yield from (Path(place) / name for name in [*files, *linked] if not name.startswith("."))


def _refuse_link_out(path: Path, root: Path) -> None:
    target = path.resolve()
    if not target.is_relative_to(root):
        raise DataError(
            "E-DAT-034",
            "a link leads out of the folder",
            got=f"{path} -> {target}",
            origin=str(root),
            allowed="files that lie below the folder themselves",
            fix=f"name {target} as a source of its own, or copy it into the folder",
        )
