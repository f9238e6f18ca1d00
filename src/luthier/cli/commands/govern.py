"""``luthier govern``: approvals, and the evidence that an auditor asks for."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

import click

from luthier.cli.face import Face, command, draw_facts, draw_table
from luthier.foundation.core.errors import shorten

if TYPE_CHECKING:
    from rich.tree import Tree

DENIED: Final = 3
LONGEST_FACTS: Final = 160
SHOWN_ENTRIES: Final = 50
DIGEST: Final = re.compile(r"[0-9a-f]{64}")


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


@command("show")
@click.option(
    "--last",
    metavar="N",
    type=int,
    help=f"How many of the newest entries.  [default: {SHOWN_ENTRIES}; all with --json]",
)
def audit_show(face: Face, *, last: int | None) -> None:
    """Show what happened in this workspace, in order."""
    from luthier.api import govern as api

    entries = api.list_audit(face.workspace, last=last if last is not None or face.is_json else SHOWN_ENTRIES)
    rows = [(entry["seq"], entry["time"][:19], entry["action"], _shorten(entry["facts"])) for entry in entries]
    drawn = draw_table(rows, columns=("entry", "time", "action", "facts"), right=("entry",))
    face.show({"entries": entries}, drawn if rows else f"nothing happened in {face.workspace} yet")


@command("verify")
@click.option(
    "--head", metavar="DIGEST", help="Hash of an entry noted elsewhere; without one a cut tail cannot be seen."
)
def audit_verify(face: Face, *, head: str | None) -> int:
    """Say whether the audit log is what was written; an edit, a gap or a swap ends with exit code 3."""
    from luthier.api import govern as api

    verdict = api.verify_audit(face.workspace, head=head)
    facts = verdict.facts
    shown = {
        "audit log": "as it was written" if facts["intact"] else "NOT as it was written",
        "entries": facts["num_entries"],
        "head": facts["head"],
        "heads noted elsewhere": facts["heads_noted"],
        **{f"remark {number}": remark["what"] for number, remark in enumerate(facts["remarks"], start=1)},
        **({"not seen": facts["not_seen"]} if facts["not_seen"] else {}),
    }
    face.show(facts, draw_facts(shown))
    if verdict.denied is None:
        return 0
    face.complain(verdict.denied)
    return DENIED


@command()
@click.argument("record", metavar="RELEASE|RECORD")
def lineage(face: Face, *, record: str) -> None:
    """Trace a release, a run or any record back to its source files, every arrow by digest."""
    from luthier.api import govern as api

    found = api.lineage(face.workspace, record)
    authors = ", ".join(found["authors"]) or "nobody on record"
    face.show(found, draw_tree(found), f"started by {authors}; names are declared, not authenticated")


@command()
@click.argument("record", metavar="RELEASE|REPORT")
def card(face: Face, *, record: str) -> None:
    """Print the model card of a release, or of a report that none was made from yet, as Markdown."""
    from luthier.api import govern as api

    text = api.card(face.workspace, record)
    if face.is_json:
        face.show({"card": text})
    else:
        click.echo(text, nl=False)


def draw_tree(found: dict[str, Any]) -> Tree:
    """Lay a lineage out, each record's parents below it; what stands above already is not repeated."""
    from rich.text import Text
    from rich.tree import Tree

    nodes = {node["digest"]: node for node in found["nodes"]}
    seen: set[str] = set()

    def grow(tree: Tree, digest: str) -> None:
        seen.add(digest)
        for name, parent in nodes[digest]["parents"].items():
            if parent in seen:
                tree.add(Text(f"{name}: {nodes[parent]['kind']} {parent[:12]}, as above"))
            else:
                grow(tree.add(Text(f"{name}: {_label(nodes[parent])}")), parent)
        for approval in nodes[digest]["approvals"]:
            word = "overridden" if approval["is_override"] else "approved"
            tree.add(Text(f"{word} by {approval['by']} at {approval['time'][:19]}: {approval['reason']}"))
        for source in nodes[digest]["sources"]:
            tree.add(Text(_describe_source(source)))

    root = Tree(Text(_label(nodes[found["record"]])))
    grow(root, found["record"])
    return root


def _describe_source(source: dict[str, Any]) -> str:
    licence = source["license"] or "no licence stated"
    where = shorten(source["path"] or "a file")
    return f"source {where}: sha256 {source['sha256']}, {source['num_rows']:,} rows, {shorten(licence)}"


def _label(node: dict[str, Any]) -> str:
    return f"{node['kind']} {node['digest'][:12]}: {shorten(node['evidence'])}"


def _shorten(facts: object) -> str:
    """Write facts in one line, digests by their first digits; ``--json`` has them whole."""
    text = facts if isinstance(facts, str) else json.dumps(facts, ensure_ascii=False)
    text = DIGEST.sub(lambda found: found[0][:12], text).replace('"', "")
    return text if len(text) <= LONGEST_FACTS else text[: LONGEST_FACTS - 1] + "…"
