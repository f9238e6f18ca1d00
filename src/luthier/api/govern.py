"""Evidence: approvals, the audit log, lineage, cards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from luthier.foundation.store.workspace import Workspace


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
