"""Approval: who said that something may go on, and why. Names are declared, not authenticated."""

from __future__ import annotations

import unicodedata

from luthier.foundation.core.hashing import Digest
from luthier.foundation.schema.noun import Noun


class Approval(Noun):
    """One person's word for one record.

    Attributes:
        record: Digest of what was approved, so that nothing else can pass for it.
        by: Who, as declared.
        reason: Why, as declared.
        is_override: Whether it also stands in for a gate that did not pass.
        time: When it was recorded, UTC in ISO 8601.
    """

    record: Digest
    by: str
    reason: str
    is_override: bool = False
    time: str


def fold_name(name: str) -> str:
    """Return the form in which two spellings of one person's name are equal: case, width and spaces aside."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def list_approvers(approvals: tuple[Approval, ...]) -> tuple[str, ...]:
    """Name everyone who approved, each once, in the order of their first approval."""
    by_key: dict[str, str] = {}
    for approval in approvals:
        by_key.setdefault(fold_name(approval.by), approval.by)
    return tuple(by_key.values())
