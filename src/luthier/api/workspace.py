"""Workspaces: find one, see what it holds, keep house."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from luthier.foundation.core.errors import RecipeError
from luthier.foundation.store.executions import Execution
from luthier.foundation.store.workspace import FOLDER_NAME, Workspace, find_workspace


def find(start: Path) -> Path:
    """Return the nearest folder upwards that holds ``.luthier``, else the start itself."""
    return find_workspace(start)


def status(folder: Path) -> dict[str, Any]:
    """Return what a workspace holds and what is unfinished.

    Args:
        folder: The folder that holds ``.luthier``.
    """
    from luthier.lifecycle.approval import list_closed_doors

    workspace = Workspace.open(folder)
    if not workspace.folder.is_dir():
        return {"workspace": str(workspace.root), "exists": False, "records": [], "unfinished": [], "running": []}
    broken = workspace.audit.find_break()
    return {
        "workspace": str(workspace.root),
        "exists": True,
        "records": [entry._asdict() for entry in workspace.records.entries()],
        "unfinished": [
            *(_describe(execution) for execution in workspace.executions.unfinished()),
            *(list_closed_doors(workspace) if broken is None else []),
        ],
        "running": [
            {"execution": holder.cache_key[:12], "pid": holder.pid, "since": holder.acquired}
            for holder in workspace.locks.holders()
        ],
        "audit_break": broken,
    }


def _describe(execution: Execution) -> dict[str, Any]:
    detail = json.loads(execution.detail or "{}")
    problems = detail.get("error", {}).get("problems", [])
    return {
        "execution": execution.cache_key[:12],
        "stage": execution.stage,
        "state": execution.state,
        "started": execution.started,
        "ended": execution.ended,
        "detail": detail.get("detail") or (problems[0]["what"] if problems else ""),
    }


def gc(folder: Path, *, days: float = 7.0, is_dry_run: bool = False) -> dict[str, Any]:
    """Delete blobs that no record names and folders of executions that ended long ago; never models.

    Args:
        folder: The folder that holds ``.luthier``.
        days: Age below which folders of ended executions stay.
        is_dry_run: Only say what would go.

    Raises:
        RecipeError: E-REC-014 for an age below zero.
    """
    if not 0 <= days <= 36_500:
        raise RecipeError(
            "E-REC-014",
            "the age of what may go is a number of days",
            got=days,
            allowed="0 to 36500",
            fix="luthier gc --days 7",
        )
    workspace = Workspace.open(folder)
    if not (workspace.root / FOLDER_NAME).is_dir():
        return {"workspace": str(workspace.root), "blobs": 0, "folders": [], "freed_bytes": 0, "is_dry_run": is_dry_run}
    swept = workspace.gc(keep=timedelta(days=days), is_dry_run=is_dry_run)
    return {
        "workspace": str(workspace.root),
        "blobs": len(swept.blobs),
        "folders": list(swept.folders),
        "freed_bytes": swept.freed_bytes,
        "is_dry_run": swept.is_dry_run,
    }
