"""Redact, drop or flag rows with personal data or secrets. The ledger holds kinds and counts, never values."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from luthier.foundation.core.hashing import sha256_bytes
from luthier.foundation.schema.plugins import OperatorConfig
from luthier.foundation.schema.rows import Row
from luthier.instruments.text.privacy import find_private, replace_private
from luthier.stages.data.operators.pii.config import Config
from luthier.stages.data.outcomes import Changed, Dropped, Flagged, HeldOut, Kept, Outcome
from luthier.stages.data.texts import map_texts


class Redactor:
    """Replaces values in the texts of one row by placeholders; equal values get equal placeholders."""

    def __init__(self, kinds: Sequence[str], known_tools: dict[str, bool] | None = None) -> None:
        """Start with no value seen.

        Args:
            kinds: What to look for.
            known_tools: Digests of tool lists to whether they are clean, shared by the rows of one call.
        """
        self._kinds = kinds
        self._known_tools = {} if known_tools is None else known_tools
        self._names: dict[tuple[str, str], str] = {}
        self.counts: Counter[str] = Counter()

    def redact(self, text: str) -> str:
        """Return the text with placeholders; the same object where nothing was found."""
        findings = find_private(text, self._kinds)
        if not findings:
            return text
        self.counts.update(finding.kind for finding in findings)
        return replace_private(text, findings, self._name)

    def redact_arguments(self, text: str) -> str:
        """Redact a call's JSON arguments value by value, so that they stay JSON."""
        if not find_private(text, self._kinds):
            return text
        try:
            arguments = json.loads(text)
        except ValueError:
            return self.redact(text)
        redacted = self._redact_value(arguments)
        return text if redacted == arguments else json.dumps(redacted, ensure_ascii=False)

    def redact_row(self, row: Row) -> Row:
        """Redact every text of a row and its further columns."""
        changed = map_texts(
            row,
            self.redact,
            change_arguments=self.redact_arguments,
            is_clean=self._has_clean_tools,
        )
        fields = self._redact_value(row.fields)
        return changed if fields == row.fields else changed.model_copy(update={"fields": fields})

    def _has_clean_tools(self, text: str) -> bool:
        digest = sha256_bytes(text.encode())
        if digest not in self._known_tools:
            self._known_tools[digest] = not find_private(text, self._kinds)
        return self._known_tools[digest]

    def _redact_value(self, value: Any) -> Any:  # noqa: ANN401  any JSON value
        if isinstance(value, str):
            return self.redact(value)
        if isinstance(value, dict):
            return {key: self._redact_value(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._redact_value(item) for item in value]
        if isinstance(value, int | float) and not isinstance(value, bool):
            found = find_private(str(value), self._kinds)
            return self.redact(str(value)) if found else value
        return value

    def _name(self, kind: str, value: str) -> str:
        key = (kind, " ".join(value.split()))
        if key not in self._names:
            number = 1 + sum(known == kind for known, _ in self._names)
            self._names[key] = f"<{kind.upper()}_{number}>"
        return self._names[key]


class PiiOperator:
    """See ``Config``."""

    def apply(self, rows: Sequence[Row], config: Config, held_out: HeldOut) -> Iterator[Outcome]:  # noqa: ARG002
        """Judge each row by itself."""
        known_tools: dict[str, bool] = {}
        for row in rows:
            redactor = Redactor(config.kinds, known_tools)
            redacted = redactor.redact_row(row)
            reasons = tuple(sorted(redactor.counts))
            detail = {"counts": dict(sorted(redactor.counts.items()))}
            if not reasons:
                yield Kept(row)
            elif config.action == "flag":
                yield Flagged(row, reasons, detail)
            elif config.action == "drop":
                yield Dropped(row, reasons, detail)
            else:
                yield Changed(redacted, row, reasons, detail)

    def scrub(self, row: Row, config: OperatorConfig) -> Row:
        """Return the row as the ledger may keep it: redacted, unless the operator only flags."""
        if not isinstance(config, Config) or config.action == "flag":
            return row
        return Redactor(config.kinds).redact_row(row)


PLUGIN = PiiOperator()
