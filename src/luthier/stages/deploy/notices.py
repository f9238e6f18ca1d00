"""Licence notices that travel with a release: the base's own files, and one page that says what asks for what."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from luthier.foundation.core.files import FileSystem, write_atomic
from luthier.foundation.schema.dataset import DatasetVersion
from luthier.foundation.schema.model import ModelChoice

NOTICE_PATTERN: Final = re.compile(r"(licen[cs]e|notice|copying|use_policy)", re.IGNORECASE)
LONGEST_NOTICE_BYTES: Final = 1 << 20
PAGE_NAME: Final = "NOTICE.md"


def find_notices(base: Path) -> list[Path]:
    """List the files of a base's folder that state its licence."""
    return [
        path
        for path in sorted(base.iterdir())
        if path.is_file() and NOTICE_PATTERN.match(path.name) and path.stat().st_size <= LONGEST_NOTICE_BYTES
    ]


def write_notices(folder: Path, model: ModelChoice, data: DatasetVersion, *, fs: FileSystem) -> None:
    """Copy the base's notices and write the page that names every licence of base and data."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in find_notices(Path(model.witness.path)):
        write_atomic(folder / f"base-{path.name}", path.read_bytes(), fs=fs)
    write_atomic(folder / PAGE_NAME, render_page(model, data).encode(), fs=fs)


def render_page(model: ModelChoice, data: DatasetVersion) -> str:
    """Say under which licence base and data stand, as far as the records know."""
    licence = model.identity.licence
    lines = [
        "# Licences of what this model was made of",
        "",
        f"- Base `{model.identity.name}` ({model.identity.weights[:12]}): {licence.licence or 'none stated'}. "
        f"{licence.reason}" + (f" Source: {licence.source}, read {licence.checked_on}." if licence.source else ""),
    ]
    lines += [
        f"- Data `{source.digest[:12]}` ({source.num_rows:,} rows): {source.license or 'no licence stated'}; "
        f"basis: {source.basis or 'not stated'}."
        for source in data.identity.sources
    ]
    return "\n".join(lines) + "\n"
