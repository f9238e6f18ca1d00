"""``luthier govern``: approvals, and the evidence that an auditor asks for."""

from __future__ import annotations

import click

from luthier.cli.face import Face, command


@command()
@click.argument("report", metavar="REPORT")
@click.option("--by", metavar="NAME", required=True, help="Who approves; declared, not authenticated; no author.")
@click.option("--reason", metavar="TEXT", required=True, help="Why, for whoever reads it later.")
@click.option("--override", "is_override", is_flag=True, help="Let what follows begin although a gate did not pass.")
def approve(face: Face, *, report: str, by: str, reason: str, is_override: bool) -> None:
    """Approve a report, or override its verdict; running its recipe again then goes on."""
    from luthier.api import govern as api

    done = api.approve(face.workspace, report, by=by, reason=reason, is_override=is_override)
    approval = done["approval"]
    word = "overridden" if approval["is_override"] else "approved"
    face.show(
        done,
        f"report {approval['record'][:12]} {word} by {approval['by']} at {approval['time'][:19]}: {approval['reason']}",
        f"approvers so far: {', '.join(done['approvers'])}; run the recipe again to go on",
    )
