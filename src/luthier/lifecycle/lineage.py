"""Lineage: from a release, or any record, back to the files that its rows were read from, every arrow by digest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from luthier.foundation.core.errors import RecipeError
from luthier.foundation.schema.approval import Approval
from luthier.foundation.schema.dataset import DatasetVersion
from luthier.foundation.schema.protocols import AnyRecord
from luthier.foundation.schema.release import Release
from luthier.foundation.store.records import SHORTEST_PREFIX, RecordEntry
from luthier.foundation.store.workspace import Workspace
from luthier.lifecycle.evidence import describe
from luthier.lifecycle.stages_table import STAGES

SHOWN: Final = 5
_ORDER: Final = {spec.name: place for place, spec in enumerate(STAGES)}


@dataclass(frozen=True)
class SourceFile:
    """A file that rows were read from: where it lay when it was last read, and what was in it."""

    path: str
    sha256: str
    num_rows: int
    license: str | None
    basis: str | None


@dataclass(frozen=True)
class Node:
    """One record of a lineage.

    Attributes:
        parents: Digest of each record that it was made from, by the name it has there; later stages first.
        sources: Files, where it is a data set.
        approvals: Whoever approved or overrode it.
    """

    digest: str
    kind: str
    stage: str
    created: str
    evidence: str
    parents: dict[str, str]
    sources: tuple[SourceFile, ...] = ()
    approvals: tuple[Approval, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the node as ``govern lineage --json`` prints it."""
        return {
            **{name: getattr(self, name) for name in ("digest", "kind", "stage", "created", "evidence", "parents")},
            "sources": [vars(source) for source in self.sources],
            "approvals": [approval.model_dump(mode="json") for approval in self.approvals],
        }


def trace(workspace: Workspace, digest: str) -> dict[str, Node]:
    """Return a record and everything it came from, by digest, the record itself first.

    Raises:
        StoreError: E-STO-004 or E-STO-005 where a record is lost or is not what its digest says.
    """
    entries = {entry.digest: entry for entry in workspace.records.entries()}
    nodes: dict[str, Node] = {}
    front = [digest]
    while front:
        found = front.pop(0)
        if found not in nodes:
            nodes[found] = _describe(workspace, workspace.records.get(found), entries[found])
            front += nodes[found].parents.values()
    return nodes


def find_record(workspace: Workspace, text: str) -> str:
    """Return the digest of what a person named: a release by name, a run by its ID, any record by its digest.

    Raises:
        RecipeError: E-STO-004 where it is none of these, or more than one record.
    """
    entries = workspace.records.entries()
    wanted = text.removeprefix("release:").removeprefix("run:")
    found = _match(workspace, wanted, entries)
    if len(found) == 1:
        return found[0]
    newest = ", ".join(f"{entry.kind} {entry.digest[:12]}" for entry in entries[:SHOWN])
    raise RecipeError(
        "E-STO-004",
        f"{text!r} is no release, run or record of {workspace.root}"
        if not found
        else f"{text!r} names several records",
        got=text or "nothing",
        allowed=", ".join(digest[:16] for digest in found) or newest or "nothing yet: the workspace is empty",
        fix="luthier status",
    )


def _match(workspace: Workspace, text: str, entries: list[RecordEntry]) -> list[str]:
    name, _, prefix = text.rpartition("@")
    releases = [workspace.records.get(entry.digest) for entry in entries if entry.kind == Release.KIND]
    named = [release.digest for release in releases if release.identity.name in {text, name}]
    if named and not name:
        return named[:1]
    if len(prefix) < SHORTEST_PREFIX:
        return []
    by_digest = [digest for digest in named or (entry.digest for entry in entries) if digest.startswith(prefix)]
    runs = workspace.executions.find(prefix, stage="train") if not name else []
    return list(dict.fromkeys([*by_digest, *(run.record for run in runs if run.record)]))


def _describe(workspace: Workspace, record: AnyRecord, entry: RecordEntry) -> Node:
    parents = record.identity.parents.items()
    return Node(
        digest=entry.digest,
        kind=entry.kind,
        stage=entry.stage,
        created=entry.created,
        evidence=describe(record),
        parents=dict(sorted(parents, key=lambda item: (-_ORDER.get(item[0], len(_ORDER)), item[0]))),
        sources=_list_sources(record) if isinstance(record, DatasetVersion) else (),
        approvals=workspace.approvals.of(entry.digest),
    )


def _list_sources(record: DatasetVersion) -> tuple[SourceFile, ...]:
    paths = [*record.witness.paths, *[""] * len(record.identity.sources)]
    return tuple(
        SourceFile(path, source.digest, source.num_rows, source.license, source.basis)
        for path, source in zip(paths, record.identity.sources, strict=False)
    )
