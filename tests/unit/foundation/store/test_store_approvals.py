"""Approvals: once a person, with an audit entry or not at all; and workspaces of version 1 gain their tables."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from luthier.foundation.core.clock import FixedClock
from luthier.foundation.core.errors import StoreError
from luthier.foundation.core.hashing import sha256_bytes
from luthier.foundation.schema.approval import Approval, list_approvers
from luthier.foundation.store.workspace import Workspace

RECORD = sha256_bytes(b"report")
OTHER = sha256_bytes(b"another report")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path, clock=FixedClock(datetime(2026, 11, 24, 12, tzinfo=UTC)))


def test_an_approval_comes_back_as_it_was_given(workspace: Workspace):
    given = workspace.approvals.add(RECORD, by="Ada", reason="it's fit", is_override=False)
    assert given == Approval(record=RECORD, by="Ada", reason="it's fit", time="2026-11-24T12:00:00.000000+00:00")
    assert workspace.approvals.of(RECORD) == (given,)
    assert workspace.approvals.of(OTHER) == ()


def test_one_person_approves_and_overrides_once_each_and_their_first_words_stay(workspace: Workspace):
    first = workspace.approvals.add(RECORD, by="Ada", reason="first", is_override=False)
    assert workspace.approvals.add(RECORD, by="ADA", reason="second", is_override=False) == first
    override = workspace.approvals.add(RECORD, by="Ada", reason="third", is_override=True)
    workspace.approvals.add(OTHER, by="Ada", reason="fourth", is_override=False)
    assert workspace.approvals.of(RECORD) == (first, override)
    assert [entry.facts["reason"] for entry in workspace.audit.entries()] == ["first", "third", "fourth"]
    assert list_approvers(workspace.approvals.entries()) == ("Ada",)


def test_many_at_once_leave_one_approval_each_and_a_whole_chain(workspace: Workspace):
    def add(number: int) -> Approval:
        return workspace.approvals.add(RECORD, by=f"person {number % 3}", reason="fit", is_override=False)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(24)))
    assert sorted(approval.by for approval in workspace.approvals.of(RECORD)) == ["person 0", "person 1", "person 2"]
    assert len(workspace.audit.entries()) == 3
    assert workspace.audit.find_break() is None


def test_an_approval_whose_audit_entry_cannot_be_written_is_not_there(workspace: Workspace, monkeypatch):
    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(workspace.audit, "append_within", fail)
    with pytest.raises(RuntimeError):
        workspace.approvals.add(RECORD, by="Ada", reason="fit", is_override=False)
    assert workspace.approvals.entries() == ()


def test_a_workspace_of_version_1_gains_its_tables_and_loses_nothing(tmp_path: Path):
    """Version 1 had no approvals and no feedback; here it is made by taking both away again."""
    workspace = Workspace.open(tmp_path)
    entry = workspace.audit.append("stage.started", {"stage": "data"})
    del workspace
    file = tmp_path / ".luthier" / "luthier.db"
    with sqlite3.connect(file) as connection:
        connection.executescript(
            "DROP TABLE approvals; DROP TABLE feedback; UPDATE meta SET value = '1' WHERE key = 'workspace_version';"
        )
    connection.close()
    again = Workspace.open(tmp_path)
    assert again.audit.entries() == [entry]
    again.approvals.add(RECORD, by="Ada", reason="fit", is_override=False)
    with sqlite3.connect(file) as connection:
        names = {
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'index')")
        }
        version = connection.execute("SELECT value FROM meta WHERE key = 'workspace_version'").fetchone()
    connection.close()
    assert {"approvals", "approvals_once", "feedback", "feedback_by_state", "feedback_by_response"} <= names
    assert version == ("2",)


def test_a_newer_workspace_is_refused_before_an_approval_touches_it(tmp_path: Path):
    Workspace.open(tmp_path).audit.append("x", {})
    file = tmp_path / ".luthier" / "luthier.db"
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE meta SET value = '3' WHERE key = 'workspace_version'")
    connection.close()
    with pytest.raises(StoreError, match="E-STO-001"):
        Workspace.open(tmp_path).approvals.add(RECORD, by="Ada", reason="fit", is_override=False)
