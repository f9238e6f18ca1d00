"""What the audit log's chain can prove, and what it cannot.

Entry N carries the hash of entry N - 1 and its own hash over number, time, action, facts and that link. So whatever is
changed, taken out or moved inside the log is found. A log that was cut at its end, or written anew from some entry on,
is a whole chain again: only a head that was noted elsewhere (each release keeps one) shows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from luthier.foundation.core.hashing import canonical_json, parse_canonical_json, sha256_json

GENESIS: Final = "0" * 64
SHORTEST_HEAD: Final = 8


class AuditRow(NamedTuple):
    """One entry as it lies in the table; ``facts`` is text."""

    seq: int
    time: str
    action: str
    facts: str
    prev: str
    hash: str


class Finding(NamedTuple):
    """One thing that is wrong: at which entry, and what."""

    seq: int
    what: str


@dataclass(frozen=True)
class ChainReport:
    """What a look at the whole log found.

    Attributes:
        num_entries: Entries that are there.
        head: Hash of the last one; zeros where there is none.
        findings: Where it is not what was written; empty where the chain is whole.
        remarks: What is odd and proves nothing, such as a clock that went back.
    """

    num_entries: int
    head: str
    findings: tuple[Finding, ...]
    remarks: tuple[Finding, ...]


def hash_entry(seq: int, time: str, action: str, facts: dict[str, Any], prev: str) -> str:
    """Return an entry's hash: sha256 of its canonical JSON (RFC 8785)."""
    return sha256_json({"seq": seq, "time": time, "action": action, "facts": facts, "prev": prev})


def verify_chain(rows: Sequence[AuditRow], *, heads: Iterable[tuple[str, str]] = ()) -> ChainReport:
    """Look at every entry and every link.

    Args:
        rows: The log as it lies, by number.
        heads: Hashes that were noted elsewhere as the head of the log at some time, each with who noted it.
    """
    findings = [*_check_rows(rows), *_check_heads(rows, heads)]
    return ChainReport(
        num_entries=len(rows),
        head=rows[-1].hash if rows else GENESIS,
        findings=tuple(findings),
        remarks=tuple(_check_clock(rows)),
    )


def _check_rows(rows: Sequence[AuditRow]) -> Iterator[Finding]:
    prev, expected = GENESIS, 1
    for row in rows:
        if row.seq != expected:
            missing = f"entry {expected} is" if row.seq == expected + 1 else f"entries {expected} to {row.seq - 1} are"
            yield Finding(expected, f"{missing} missing" if row.seq > expected else f"entry {row.seq} is out of order")
        if row.prev != prev:
            yield Finding(row.seq, f"entry {row.seq} does not follow the one before it")
        problem = _check_content(row)
        if problem:
            yield Finding(row.seq, f"entry {row.seq} {problem}")
        prev, expected = row.hash, row.seq + 1


def _check_content(row: AuditRow) -> str:
    try:
        facts = parse_canonical_json(row.facts)
        is_same = canonical_json(facts).decode() == row.facts
        actual = hash_entry(row.seq, row.time, row.action, facts, row.prev)
    except (ValueError, RecursionError):
        return "is not JSON"
    if not is_same:
        return "was written by something else: its JSON is not canonical"
    return "" if actual == row.hash else "was changed: its hash is not that of its content"


def _check_heads(rows: Sequence[AuditRow], heads: Iterable[tuple[str, str]]) -> Iterator[Finding]:
    known = {row.hash for row in rows} | {GENESIS}
    for head, who in heads:
        if head not in known and not (len(head) >= SHORTEST_HEAD and any(one.startswith(head) for one in known)):
            yield Finding(
                len(rows) + 1, f"no entry has the hash {head[:12]}, which {who} noted: the log was cut or rewritten"
            )


def _check_clock(rows: Sequence[AuditRow]) -> Iterator[Finding]:
    last: datetime | None = None
    for row in rows:
        try:
            time = datetime.fromisoformat(row.time)
            is_back = last is not None and time < last
        except (ValueError, TypeError):  # not a time, or one without a zone
            yield Finding(row.seq, f"entry {row.seq} has no time that can be read")
            continue
        if is_back:
            yield Finding(row.seq, f"the clock went back at entry {row.seq}")
        last = time
