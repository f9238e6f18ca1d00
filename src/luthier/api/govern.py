"""Evidence: approvals, the audit log, lineage, cards."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.foundation.core.errors import PolicyDenied, Problem, RecipeError, shorten
from luthier.foundation.schema.release import Release
from luthier.foundation.store.approvals import APPROVED
from luthier.foundation.store.audit_chain import SHORTEST_HEAD, Finding, verify_chain
from luthier.foundation.store.workspace import Workspace

WHAT_IS_NOT_SEEN = (
    "a log that was cut at its end or rewritten whole cannot be seen without a head that was noted elsewhere: "
    "--head DIGEST"
)
SHOWN_FINDINGS = 20


@dataclass(frozen=True)
class AuditVerdict:
    """What a look at the audit log found.

    Attributes:
        facts: The same as JSON.
        denied: What is wrong, one problem a finding; None where the log is what was written.
    """

    facts: dict[str, Any]
    denied: PolicyDenied | None


def approve(folder: Path, report: str, *, by: str, reason: str, is_override: bool = False) -> dict[str, Any]:
    """Record that someone approves a Report, or overrides its verdict.

    Args:
        folder: The folder that holds ``.luthier``.
        report: The Report's digest or its first digits.
        by: Who, as they declare themselves; not an author of the run.
        reason: Why.
        is_override: Whether it stands in for a gate that did not pass.

    Returns:
        The approval, the authors, and everyone who approved this Report so far.

    Raises:
        RecipeError: E-GOV-003, E-GOV-004 or E-STO-004 for a name, a reason or a Report that cannot be.
        PolicyDenied: E-GOV-002 for an author.
    """
    from luthier.foundation.schema.approval import list_approvers
    from luthier.lifecycle.approval import approve as record_approval
    from luthier.lifecycle.approval import find_authors

    workspace = Workspace.open(folder)
    approval = record_approval(workspace, report, by=by, reason=reason, is_override=is_override)
    return {
        "approval": approval.model_dump(mode="json"),
        "authors": list(find_authors(workspace, approval.record)),
        "approvers": list(list_approvers(workspace.approvals.of(approval.record))),
    }


def list_audit(folder: Path, *, last: int | None = None) -> list[dict[str, Any]]:
    """List the entries of the audit log in order.

    Args:
        folder: The folder that holds ``.luthier``.
        last: How many of the newest; None for all.

    Raises:
        RecipeError: E-REC-014 for a number below one.
    """
    if last is not None and last < 1:
        raise RecipeError(
            "E-REC-014",
            "the number of entries to show is at least one",
            got=last,
            origin="--last",
            allowed="1 or more",
            fix="--last 20",
        )
    rows = Workspace.open(folder).audit.rows()
    return [_show(row._asdict()) for row in rows[-(last or len(rows) or 1) :]]


def verify_audit(folder: Path, *, head: str | None = None) -> AuditVerdict:
    """Look whether the audit log is what was written, entry by entry and link by link.

    Heads that releases of this workspace keep must be in it; approvals and their entries must agree.

    Args:
        folder: The folder that holds ``.luthier``.
        head: Hash, or its first digits, of an entry that was noted elsewhere; the log must still hold it.

    Raises:
        RecipeError: E-REC-014 for a head that is no hash.
    """
    workspace = Workspace.open(folder)
    heads = [(release.witness.audit_head, f"release {release.digest[:12]}") for release in _list_releases(workspace)]
    heads += [(_check_head(head), "--head")] if head is not None else []
    report = verify_chain(workspace.audit.rows(), heads=[(noted, who) for noted, who in heads if noted])
    findings = [*report.findings, *_compare_approvals(workspace)] if not report.findings else [*report.findings]
    facts = {
        "intact": not findings,
        "num_entries": report.num_entries,
        "head": report.head,
        "heads_noted": len([noted for noted, _ in heads if noted]),
        "findings": [finding._asdict() for finding in findings],
        "remarks": [remark._asdict() for remark in report.remarks],
        "not_seen": "" if head is not None else WHAT_IS_NOT_SEEN,
    }
    return AuditVerdict(facts, _deny(findings, workspace) if findings else None)


def lineage(folder: Path, text: str) -> dict[str, Any]:
    """Trace a record back to the files that its rows were read from, every arrow by digest.

    Args:
        folder: The folder that holds ``.luthier``.
        text: A release by name, a run by its ID, any record by its digest.

    Returns:
        The record's digest, its authors, and every record of the lineage with its parents, the named one first.

    Raises:
        RecipeError: E-STO-004 for what the workspace does not hold.
    """
    from luthier.lifecycle.approval import find_authors
    from luthier.lifecycle.lineage import find_record, trace

    workspace = Workspace.open(folder)
    digest = find_record(workspace, text)
    nodes = [node.to_json() for node in trace(workspace, digest).values()]
    return {"record": digest, "authors": list(find_authors(workspace, digest)), "nodes": nodes}


def card(folder: Path, text: str) -> str:
    """Return the model card of a release, or of a report that no release was made from yet, as Markdown.

    Args:
        folder: The folder that holds ``.luthier``.
        text: A release by name or digest, or a report by digest.

    Raises:
        RecipeError: E-STO-004 or E-GOV-004 for what has no card.
        PolicyDenied: E-GOV-006 for a card that is not the one that was released.
    """
    from luthier.lifecycle.cards import show_card

    return show_card(Workspace.open(folder), text)


def _show(row: dict[str, Any]) -> dict[str, Any]:
    """Return an entry with its facts as JSON, or as text where they are none."""
    try:
        return row | {"facts": json.loads(row["facts"])}
    except ValueError:  # somebody changed it; `verify` says so
        return row


def _list_releases(workspace: Workspace) -> list[Release]:
    entries = workspace.records.entries(kind=Release.KIND)
    records = (workspace.records.get(entry.digest) for entry in entries)
    return [record for record in records if isinstance(record, Release)]


def _check_head(head: str) -> str:
    if len(head) >= SHORTEST_HEAD and set(head) <= set("0123456789abcdef"):
        return head
    raise RecipeError(
        "E-REC-014",
        "a head is the hash of an audit entry",
        got=head or "nothing",
        origin="--head",
        allowed=f"{SHORTEST_HEAD} to 64 hexadecimal digits, as `luthier govern audit verify` prints them",
        fix="luthier govern audit verify",
    )


def _compare_approvals(workspace: Workspace) -> list[Finding]:
    """Find approvals without an entry, and entries whose approval is gone or says something else."""
    logged = workspace.audit.entries(action=APPROVED)
    told = [approval.model_dump(mode="json", exclude={"time"}) for approval in workspace.approvals.entries()]
    findings = [
        Finding(entry.seq, f"the approval of entry {entry.seq} by {entry.facts.get('by')} is not there any more")
        for entry in logged
        if entry.facts not in told
    ]
    facts = [entry.facts for entry in logged]
    unlogged = [one for one in told if one not in facts]
    return findings + [
        Finding(0, f"the approval by {one['by']} of {one['record'][:12]} has no entry") for one in unlogged
    ]


def _deny(findings: list[Finding], workspace: Workspace) -> PolicyDenied:
    return PolicyDenied.collect(
        Problem(
            "E-GOV-007",
            f"the audit log is not what was written: {shorten(finding.what)}",
            got=f"entry {finding.seq}" if finding.seq else "the table of approvals",
            origin=str(workspace.folder / "luthier.db"),
            allowed="every entry as it was appended",
            fix="compare luthier.db with a backup from before",
        )
        for finding in findings[:SHOWN_FINDINGS]
    )
