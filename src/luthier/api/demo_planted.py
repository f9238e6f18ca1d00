"""Were the defects that the demo planted found? Labels against the ledger, kind by kind."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from luthier.stages.data.ledger import Entry

ANSWERABLE: Final[dict[str, tuple[str, str]]] = {
    "exact_duplicate": ("dedupe", ""),
    "near_duplicate": ("near_dedupe", ""),
    "personal_data": ("pii", ""),
    "broken_encoding": ("unicode", "mojibake"),
    "leaked_evaluation": ("decontaminate", ""),
    "poisoned": ("poison", ""),
}
"""The operator that answers for a kind of defect, and its reason where it acts for several."""


@dataclass(frozen=True, slots=True)
class Label:
    """One planted defect: a line of the training file, and the line that a duplicate repeats."""

    line: int
    defect: str
    of: int | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """How one kind was found.

    Attributes:
        operator: Who answers for it.
        n: Planted rows.
        caught: Planted rows that the operator named, or that an operator before it had dropped.
        named: Rows that the operator named.
        right: Those of them that were planted; of a pair of duplicates either is right.
    """

    operator: str
    n: int
    caught: int
    named: int
    right: int

    def to_json(self) -> dict[str, Any]:
        """Return recall and precision with their counts; a precision of nothing is absent as None."""
        return {
            "recall": self.caught / self.n if self.n else None,
            "precision": self.right / self.named if self.named else None,
            "n": self.n,
            "caught": self.caught,
            "named": self.named,
            "operator": self.operator,
        }


def read_labels(path: Path) -> list[Label]:
    """Read which lines are broken and how."""
    return [Label(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def judge_planted(labels: Iterable[Label], entries: Sequence[Entry], *, operators: Sequence[str]) -> dict[str, Found]:
    """Count what was found of each kind that was planted.

    Args:
        labels: Of the training file.
        entries: The ledger's lines for the same file.
        operators: Names in the order in which they ran.
    """
    by_kind: dict[str, list[Label]] = {}
    for label in labels:
        by_kind.setdefault(label.defect, []).append(label)
    return {kind: _judge(kind, own, entries, operators) for kind, own in sorted(by_kind.items())}


def _judge(kind: str, labels: Sequence[Label], entries: Sequence[Entry], operators: Sequence[str]) -> Found:
    operator, reason = ANSWERABLE[kind]
    before = set(operators[: operators.index(operator)]) if operator in operators else set(operators)
    named = {
        entry.origin.line for entry in entries if entry.operator == operator and (not reason or reason in entry.reasons)
    }
    gone = {entry.origin.line for entry in entries if entry.operator in before and entry.action == "dropped"}
    pairs = [{label.line} if label.of is None else {label.line, label.of} for label in labels]
    caught = sum(bool(pair & named) or label.line in gone for label, pair in zip(labels, pairs, strict=True))
    right = named & set().union(*pairs)
    return Found(operator, len(labels), caught, len(named), len(right))


def to_json(found: Mapping[str, Found]) -> dict[str, Any]:
    """Return ``planted`` as ``demo --json`` prints it."""
    return {kind: one.to_json() for kind, one in found.items()}
