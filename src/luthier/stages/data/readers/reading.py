"""How one file is to be read, and what reading it gives: records by line, or what is wrong with a line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.foundation.core.errors import Problem

Record = tuple[int, dict[str, Any] | Problem]
"""The line, or in a Parquet file the row, from 1; and an object, or what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How a file or a folder of files is to be read.

    Attributes:
        path: Where it lies.
        format: ``jsonl``, ``json``, ``csv``, ``parquet``, ``text`` or ``folder``; ``auto`` tells by name and content.
        form: The rows' form; ``auto`` takes that of the first good row.
        columns: The source's column names by the form's, as ``forms.to_row`` takes them.
        name: What rows and messages call the file; the path where empty.
    """

    path: Path
    format: str = "auto"
    form: str = "auto"
    columns: Mapping[str, str] = field(default_factory=dict)
    name: str = ""

    @property
    def label(self) -> str:
        """The name that rows carry in their origin."""
        return self.name or str(self.path)
