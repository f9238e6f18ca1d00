"""The door between a verdict and what is made of it: when it opens, who may open it, and who asked for it.

A Report that passed its gates opens the door by itself; one that did not opens it for an override with a name and a
reason. ``govern.approvals: N`` asks for N people besides, none of whom is an author.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Sequence
from typing import Final

from luthier.foundation.core.errors import PolicyDenied, Problem, RecipeError, shorten
from luthier.foundation.schema.approval import Approval, fold_name, list_approvers
from luthier.foundation.schema.protocols import Waiting
from luthier.foundation.schema.report import GateVerdict, Report
from luthier.foundation.store.workspace import Workspace

STARTED: Final = "stage.started"
DENIED: Final = "gate.denied"
HELD: Final = "gate.waiting"
AUTHOR_VARIABLE: Final = "LUTHIER_AUTHOR"
ID_DIGITS: Final = 12
LONGEST_NAME: Final = 120
LONGEST_REASON: Final = 2000
SHOWN_REASON: Final = 400


def find_author() -> str:
    """Return who starts runs here: ``LUTHIER_AUTHOR``, else the system's user. Declared, not authenticated."""
    declared = " ".join(word for word in os.environ.get(AUTHOR_VARIABLE, "").split() if word.isprintable())
    if declared:
        return declared[:LONGEST_NAME]
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return f"uid {os.getuid()}"


def check_door(
    report: Report, digest: str, approvals: Sequence[Approval], *, stage: str, needed: int
) -> PolicyDenied | Waiting | None:
    """Say whether what follows a Report may begin.

    Args:
        report: What evaluate found.
        digest: Its name in the store.
        approvals: Everything recorded for it.
        stage: What would begin.
        needed: Approvals that the recipe asks for.

    Returns:
        None where the door is open; E-GOV-001 where a gate did not pass and nobody overrode it; else what it waits for.
    """
    if report.identity.verdict != "PASS" and not any(approval.is_override for approval in approvals):
        return _deny(report, digest)
    given = list_approvers(tuple(approvals))
    if len(given) >= needed:
        return None
    so_far = f"{len(given)} of {needed} approvals so far" + (f" ({', '.join(given)})" if given else "")
    command = _write_command(digest, is_override=False)
    return Waiting(stage=stage, reason="approval", detail=f"{so_far}; {command}")


def list_closed_doors(workspace: Workspace) -> list[dict[str, str | None]]:
    """List the reports at which a run stopped and from which nothing was released since, oldest first.

    Each has the form of an unfinished execution, with the command that opens the door as its detail.
    """
    entries = sorted(workspace.audit.entries(action=DENIED) + workspace.audit.entries(action=HELD))
    newest = {str(entry.facts["record"]): entry for entry in entries}
    stages = {entry.digest: entry.stage for entry in workspace.records.entries()}
    doors: list[dict[str, str | None]] = []
    for digest, entry in newest.items():
        stage, is_denied = str(entry.facts["stage"]), entry.action == DENIED
        if stage in {stages.get(step.digest) for step in workspace.records.walk_children(digest)}:
            continue
        doors.append(
            {
                "execution": digest[:ID_DIGITS],
                "stage": stage,
                "state": "denied" if is_denied else "waiting",
                "started": entry.time,
                "ended": None,
                "detail": _write_command(digest, is_override=is_denied),
            }
        )
    return doors


def _write_command(digest: str, *, is_override: bool) -> str:
    override = "--override " if is_override else ""
    return f"luthier govern approve {digest[:ID_DIGITS]} {override}--by NAME --reason TEXT"


def _deny(report: Report, digest: str) -> PolicyDenied:
    fix = _write_command(digest, is_override=True)
    gates = [(number, gate) for number, gate in enumerate(report.identity.gates) if gate.verdict != "PASS"]
    problems = [
        Problem(
            "E-GOV-001",
            f"the gate on {shorten(gate.metric)} ({gate.rule} {gate.against}) says {gate.verdict}; nothing is released",
            got=shorten(gate.reason, SHOWN_REASON),
            origin=f"report {digest[:ID_DIGITS]}, {gate.n:,} rows",
            needs=_say_needed(gate),
            allowed="PASS, or an override with a name and a reason",
            fix=fix,
            field=f"evaluate.gates.{number}",
        )
        for number, gate in gates
    ]
    return PolicyDenied.collect(
        problems
        or [
            Problem(
                "E-GOV-001",
                f"the verdict is {report.identity.verdict}; nothing is released",
                got=report.identity.verdict,
                origin=f"report {digest[:ID_DIGITS]}",
                allowed="PASS, or an override with a name and a reason",
                fix=fix,
            )
        ]
    )


def _say_needed(gate: GateVerdict) -> str:
    if gate.verdict == "FAIL":
        return "another model: more rows like these would not change the verdict"
    if gate.needed is None:
        return "no number of rows like these would settle it"
    return f"about {gate.needed:,} rows like these would settle it; there were {gate.n:,}"


def approve(workspace: Workspace, text: str, *, by: str, reason: str, is_override: bool) -> Approval:
    """Record that someone approves a Report, or overrides its verdict.

    Args:
        workspace: Where it lies.
        text: The Report's digest, or its first digits.
        by: Who, as they declare themselves.
        reason: Why.
        is_override: Whether it stands in for a gate that did not pass.

    Returns:
        What is on record; the earlier one where the same person had approved before.

    Raises:
        RecipeError: E-GOV-003 for an empty or endless name or reason, E-GOV-004 for what is no Report, E-STO-004 for
            what the workspace does not hold.
        PolicyDenied: E-GOV-002 for an author of what is approved.
    """
    who, why = _check_text("--by", by, LONGEST_NAME), _check_text("--reason", reason, LONGEST_REASON)
    digest = workspace.records.find(text)
    record = workspace.records.get(digest)
    if not isinstance(record, Report):
        raise _not_a_report(workspace, digest, str(record.KIND))
    authors = find_authors(workspace, digest)
    if fold_name(who) in {fold_name(author) for author in authors}:
        raise PolicyDenied(
            "E-GOV-002",
            f"{shorten(who)!r} is an author of what report {digest[:ID_DIGITS]} judges; nobody approves their own work",
            got=who,
            origin="--by",
            allowed=f"anyone but {', '.join(authors)}",
            fix=f"luthier govern approve {digest[:ID_DIGITS]} --by ANOTHER --reason TEXT",
            field="by",
        )
    return workspace.approvals.add(digest, by=who, reason=why, is_override=is_override)


def find_authors(workspace: Workspace, digest: str) -> tuple[str, ...]:
    """Name who started a stage that made this record or anything that it came from, by the audit log.

    Source:
        Separation of duties: the approver is none of the authors of the run, the data or the evaluation.
    """
    lineage = [digest, *(step.digest for step in workspace.records.walk_parents(digest))]
    keys = set(workspace.executions.find_makers(lineage))
    started = workspace.audit.entries(action=STARTED)
    authors = [
        str(entry.facts["author"])
        for entry in started
        if entry.facts.get("cache_key") in keys and "author" in entry.facts
    ]
    return tuple(dict.fromkeys(authors))


def _check_text(option: str, text: str, longest: int) -> str:
    text = " ".join(text.split())
    if text and len(text) <= longest and text.isprintable():
        return text
    raise RecipeError(
        "E-GOV-003",
        f"an approval needs a name and a reason that can be read, and {option} is not one",
        got=text if text else "nothing",
        origin=option,
        allowed=f"1 to {longest:,} printable characters",
        fix=f"{option} 'words that a reader will understand in a year'",
        field=option.lstrip("-"),
    )


def _not_a_report(workspace: Workspace, digest: str, kind: str) -> RecipeError:
    reports = {entry.digest for entry in workspace.records.entries(kind=Report.KIND)}
    below = [step.digest[:ID_DIGITS] for step in workspace.records.walk_children(digest) if step.digest in reports]
    return RecipeError(
        "E-GOV-004",
        f"a {kind} is not what is approved: a report is, since it holds the verdict",
        got=f"{kind} {digest[:ID_DIGITS]}",
        allowed=", ".join(below[:5]) or "the digest of a report; `luthier status` lists them",
        fix=f"luthier govern approve {below[0] if below else 'REPORT'} --by NAME --reason TEXT",
    )
