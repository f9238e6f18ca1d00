"""Repair broken encoding and take hidden and odd characters out of all texts of a row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from luthier.foundation.schema.rows import Row
from luthier.stages.data.operators.unicode.cleaning import Cleaning, clean_arguments, clean_text, is_plain
from luthier.stages.data.operators.unicode.config import Config
from luthier.stages.data.outcomes import Changed, Dropped, HeldOut, Kept, Outcome
from luthier.stages.data.texts import map_texts


class UnicodeOperator:
    """See ``Config``."""

    def apply(self, rows: Sequence[Row], config: Config, held_out: HeldOut) -> Iterator[Outcome]:  # noqa: ARG002
        """Clean each row by itself."""
        for row in rows:
            found = Cleaning()
            cleaned = _clean_row(row, found, config)
            detail = {"characters": dict(sorted(found.counts.items()))} | (
                {"hidden_text": found.hidden} if found.hidden else {}
            )
            if found.hidden and config.hidden_text == "drop":
                yield Dropped(row, ("hidden_text",), detail)
            elif cleaned is row:
                yield Kept(row)
            else:
                reasons = (*sorted(found.counts), *(("hidden_text",) if found.hidden else ()))
                yield Changed(cleaned, row, reasons, detail)


def _clean_row(row: Row, found: Cleaning, config: Config) -> Row:
    fix_lookalikes = config.lookalikes == "fix"

    def clean(text: str) -> str:
        return clean_text(text, found, fix_lookalikes=fix_lookalikes, repair=config.repair)

    return map_texts(row, clean, change_arguments=lambda text: clean_arguments(text, clean), is_clean=is_plain)


PLUGIN = UnicodeOperator()
