"""Rows kept in a temporary file instead of in memory: written once, rebuilt where one is looked at.

A row as an object takes about ten times the bytes of its JSON, so a data set of some gigabytes would not fit. Here
memory holds some bytes a row and a few megabytes of the file; the rest is on disk, in ``TMPDIR``, without a name.
"""

from __future__ import annotations

import json
import tempfile
import weakref
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from os import SEEK_END
from pathlib import Path
from typing import Any, Final, overload

from luthier.foundation.core.files import disk_errors
from luthier.foundation.schema.rows import Row

IN_MEMORY_BYTES: Final = 16 << 20
"""Below this nothing is written to disk."""

KNOWN_TOOLS: Final = 256
"""Rows of one source mostly list the same tools; so many lists are kept as objects and shared."""


class Lines:
    """Texts in a temporary file, by number; the file goes when the object does."""

    def __init__(self) -> None:
        """Open the file; it has no name and so nothing is left behind, however the process ends."""
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115  lives as long as this
        self._folder = Path(tempfile.gettempdir())
        self._ends = array("Q", [0])
        weakref.finalize(self, self._file.close)

    def __len__(self) -> int:
        """Return how many texts there are."""
        return len(self._ends) - 1

    def append(self, text: bytes) -> int:
        """Add a text and return its number.

        Raises:
            StoreError: E-ENV-003 when the disk of temporary files is full.
        """
        with disk_errors(self._folder, "rows between two steps (TMPDIR names another disk)"):
            self._file.seek(0, SEEK_END)
            self._file.write(text)
        self._ends.append(self._ends[-1] + len(text))
        return len(self) - 1

    def read(self, number: int) -> bytes:
        """Return the text of a number."""
        with disk_errors(self._folder, "rows between two steps (TMPDIR names another disk)"):
            self._file.seek(self._ends[number])
        return self._file.read(self._ends[number + 1] - self._ends[number])


class Rows(Sequence[Row]):
    """A sequence of rows that lie in a file. Parts and orders of it share the file.

    Args:
        rows: What to begin with.
        has_unique_ids: Give a row whose id is taken a new one that names its file and line; the first keeps the id.
    """

    def __init__(self, rows: Iterable[Row] = (), *, has_unique_ids: bool = False) -> None:
        """Write the rows that there are to begin with."""
        self._lines = Lines()
        self._id_hashes = array("q")
        self._numbers = array("Q")
        self._taken: set[str] | None = set() if has_unique_ids else None
        for row in rows:
            self.append(row)

    def append(self, row: Row) -> None:
        """Add a row at the end."""
        if self._taken is not None:
            row = self._rename(row, self._taken)
        self._numbers.append(self._lines.append(_dump(row)))
        self._id_hashes.append(hash(row.id))

    def append_from(self, rows: Rows, index: int) -> None:
        """Add a row of another part of the same file; nothing is written."""
        self._numbers.append(rows._numbers[index])

    def has_id(self, index: int, name: str) -> bool:
        """Tell whether the row at an index has this id, without rebuilding it."""
        return index < len(self) and self._id_hashes[self._numbers[index]] == hash(name)

    def select(self, indices: Iterable[int]) -> Rows:
        """Return the rows at some indices, in that order; nothing is written."""
        part = Rows()
        part._lines, part._id_hashes = self._lines, self._id_hashes
        part._numbers.extend(self._numbers[index] for index in indices)
        return part

    def __len__(self) -> int:
        """Return how many rows there are."""
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Rows: ...
    def __getitem__(self, index: int | slice) -> Row | Rows:
        """Rebuild one row, or take a part."""
        if isinstance(index, slice):
            return self.select(range(*index.indices(len(self))))
        return _parse(self._lines.read(self._numbers[index]))

    def __iter__(self) -> Iterator[Row]:
        """Rebuild one row after the other."""
        for number in self._numbers:
            yield _parse(self._lines.read(number))

    @staticmethod
    def _rename(row: Row, taken: set[str]) -> Row:
        name = row.id
        if name in taken:
            name = f"{row.id}@{row.origin.file}-{row.origin.line}"
            row = row.model_copy(update={"id": name})
        taken.add(name)
        return row


def _dump(row: Row) -> bytes:
    """Write the tools on a line of their own, so that equal lists are known by their bytes."""
    tools = json.dumps(row.tools).encode() if row.tools else b""
    return tools + b"\n" + row.model_dump_json(exclude_defaults=True, exclude={"tools"}).encode()


def _parse(text: bytes) -> Row:
    tools, _, rest = text.partition(b"\n")
    row = Row.model_validate_json(rest)
    return row.model_copy(update={"tools": _parse_tools(tools)}) if tools else row


@lru_cache(maxsize=KNOWN_TOOLS)
def _parse_tools(text: bytes) -> tuple[dict[str, Any], ...]:
    return tuple(json.loads(text))
