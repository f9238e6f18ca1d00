"""``luthier status``, ``logs`` and ``gc``: keeping house."""

from __future__ import annotations

import click

from luthier.cli.face import Face, command, draw_facts, draw_table


@command()
@click.option("--all", "is_all", is_flag=True, help="Show every record, not the newest twenty.")
def status(face: Face, *, is_all: bool) -> None:
    """Show what a workspace holds and what is unfinished."""
    from luthier.api import workspace

    found = workspace.status(face.workspace)
    if not found["exists"]:
        face.show(found, f"no workspace at {found['workspace']} yet; the first run makes one")
        return
    records = found["records"] if is_all else found["records"][:20]
    rows = [(r["digest"][:12], r["kind"], r["stage"], r["created"][:19]) for r in records]
    unfinished = [(u["execution"], u["stage"], u["state"], u["started"][:19], u["detail"]) for u in found["unfinished"]]
    intact = "intact" if found["audit_break"] is None else f"broken at entry {found['audit_break']}"
    parts = [
        draw_facts(
            {
                "workspace": found["workspace"],
                "records": len(found["records"]),
                "running": ", ".join(f"{r['execution']} (process {r['pid']})" for r in found["running"]) or "nothing",
                "audit log": intact,
            }
        ),
    ]
    if rows:
        parts += ["", draw_table(rows, columns=("record", "kind", "stage", "created"))]
    if unfinished:
        parts += ["", draw_table(unfinished, columns=("unfinished", "stage", "state", "started", "why"))]
    face.show(found, *parts)


@command()
@click.argument("run", metavar="RUN")
@click.option("--last", metavar="N", type=click.IntRange(1), default=20, show_default=True, help="Steps shown.")
def logs(face: Face, *, run: str, last: int) -> None:
    """Show a run's curve or its failure.

    RUN is a run's ID or its first digits.
    """
    from luthier.api import runs

    found = runs.logs(face.workspace, run)
    steps = found["steps"]
    names = list(dict.fromkeys(name for step in steps for name in step))
    rows = [[_round(step.get(name)) for name in names] for step in steps[-last:]]
    parts = [draw_facts({"run": found["run"], "state": found["state"], "folder": found["folder"]})]
    if rows:
        parts += ["", draw_table(rows, columns=names, right=names)]
    if found["failure"]:
        parts += ["", found["failure"]]
    face.show(found, *parts)


@command()
@click.option("--days", metavar="N", type=float, default=7.0, show_default=True, help="Keep folders younger than this.")
@click.option("--dry-run", "is_dry_run", is_flag=True, help="Only say what would go.")
def gc(face: Face, *, days: float, is_dry_run: bool) -> None:
    """Delete blobs and folders that nothing needs any more.

    Models of the user's cache are never touched.
    """
    from luthier.api import workspace

    found = workspace.gc(face.workspace, days=days, is_dry_run=is_dry_run)
    verb = "would go" if is_dry_run else "went"
    size = f"{found['freed_bytes'] / 2**20:,.1f} MiB"
    face.show(found, f"{found['blobs']} blobs and {len(found['folders'])} folders {verb}: {size}", *found["folders"])


def _round(value: object) -> object:
    return f"{value:.4g}" if isinstance(value, float) else value
