"""The workspace: found upwards, created late, upgraded by functions, refused when newer, busy or damaged."""

from __future__ import annotations

import hashlib
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest
import rfc8785
from sqlalchemy import Connection, text

from luthier.foundation.core.clock import FixedClock
from luthier.foundation.core.errors import StoreError
from luthier.foundation.store.audit_chain import GENESIS
from luthier.foundation.store.database import Database
from luthier.foundation.store.workspace import Workspace, find_workspace
from tests.fixtures.store_records import make_dataset


def open_database(file: Path, **options: object) -> Database:
    return Database(f"sqlite:///{file}", file=file, **options)  # type: ignore[arg-type]


def test_the_workspace_is_the_nearest_folder_upwards_else_here(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    assert find_workspace(inner) == inner
    (tmp_path / ".luthier").mkdir()
    assert find_workspace(inner) == tmp_path
    (tmp_path / "a" / ".luthier").mkdir()
    assert find_workspace(inner) == tmp_path / "a"


def test_reading_an_absent_workspace_finds_nothing_and_writes_nothing(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path)
    assert workspace.records.entries() == []
    assert workspace.executions.get("k") is None
    assert workspace.audit.entries() == []
    assert workspace.locks.holders() == []
    assert list(tmp_path.iterdir()) == []


def test_a_newer_workspace_is_refused_and_nothing_in_it_changes(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path)
    digest = workspace.records.put(make_dataset(), stage="data", cache_key="")
    file = tmp_path / ".luthier" / "luthier.db"
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE meta SET value = '99'")
    connection.close()
    for act in (lambda w: w.records.get(digest), lambda w: w.audit.append("x", {})):
        with pytest.raises(StoreError) as caught:
            act(Workspace.open(tmp_path))
        problem = caught.value.problems[0]
        assert (problem.code, caught.value.exit_code) == ("E-STO-001", 4)
        assert "99" in problem.got
        assert problem.allowed
        assert problem.fix
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT count(*) FROM audit").fetchone() == (0,)
    connection.close()


def test_an_older_workspace_is_upgraded_step_by_step_and_a_failed_upgrade_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "luthier.db"
    with open_database(file, version=1).write() as connection:
        connection.execute(text("INSERT INTO meta VALUES ('kept', 'yes')"))

    def add(name: str) -> object:
        return lambda connection: connection.execute(text("INSERT INTO meta VALUES (:name, '1')"), {"name": name})

    def fail(_: Connection) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError), open_database(file, version=3, upgrades={1: add("one"), 2: fail}).read():
        pass
    with open_database(file, version=1).read() as connection:
        assert dict(connection.execute(text("SELECT key, value FROM meta")).all()) == {
            "kept": "yes",
            "workspace_version": "1",
        }
    with open_database(file, version=3, upgrades={1: add("one"), 2: add("two")}).read() as connection:
        found = dict(connection.execute(text("SELECT key, value FROM meta")).all())
    assert found == {"kept": "yes", "one": "1", "two": "1", "workspace_version": "3"}


def test_the_database_runs_in_wal_mode(tmp_path: Path) -> None:
    with open_database(tmp_path / "luthier.db").write() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar_one() == 2, "FULL"


def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path) -> None:
    file = tmp_path / ".luthier" / "luthier.db"
    file.parent.mkdir()
    file.write_bytes(b"this is not a database at all" * 100)
    with pytest.raises(StoreError) as caught:
        Workspace.open(tmp_path).records.entries()
    problem = caught.value.problems[0]
    assert problem.code == "E-STO-005"
    assert problem.fix.startswith("mv ")
    assert file.read_bytes().startswith(b"this is not")


def test_a_database_that_stays_locked_says_so_after_its_tries(tmp_path: Path) -> None:
    file = tmp_path / "luthier.db"
    database = open_database(file, busy_timeout_seconds=0.01)
    with database.write():
        pass
    rival = sqlite3.connect(file, isolation_level=None)
    rival.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError) as caught, database.write():
        pass
    assert caught.value.problems[0].code == "E-STO-007"
    with database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM records")).scalar_one() == 0, "readers never wait"
    rival.execute("COMMIT")
    rival.close()
    with database.write():
        pass


def test_a_write_that_fails_midway_is_taken_back_whole(tmp_path: Path) -> None:
    database = open_database(tmp_path / "luthier.db")

    def write_half() -> None:
        with database.write() as connection:
            connection.execute(text("INSERT INTO meta VALUES ('half', '1')"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    with database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM meta WHERE key = 'half'")).scalar_one() == 0


def test_the_audit_log_is_a_chain_and_the_first_changed_entry_is_found(tmp_path: Path) -> None:
    clock = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
    audit = Workspace.open(tmp_path, clock=clock).audit
    first = audit.append("run.started", {"b": 1, "a": "x"})
    second = audit.append("run.ended", {})
    assert (first.seq, first.prev, second.seq, second.prev) == (1, GENESIS, 2, first.hash)
    assert audit.find_break() is None
    audit.append("run.started", {})
    with sqlite3.connect(tmp_path / ".luthier" / "luthier.db") as connection:
        connection.execute('UPDATE audit SET facts = \'{"a":"y"}\' WHERE seq = 2')
    connection.close()
    assert audit.find_break() == 2
    with sqlite3.connect(tmp_path / ".luthier" / "luthier.db") as connection:
        connection.execute("UPDATE audit SET facts = '{}' WHERE seq = 2")
        connection.execute("DELETE FROM audit WHERE seq = 1")
    connection.close()
    assert audit.find_break() == 1


def test_an_entry_that_was_written_anew_with_a_fitting_hash_breaks_the_chain_at_the_next(tmp_path: Path) -> None:
    audit = Workspace.open(tmp_path).audit
    entries = [audit.append(f"step {number}", {}) for number in range(3)]
    forged = {"seq": 2, "time": entries[1].time, "action": "forged", "facts": {}, "prev": entries[1].prev}
    digest = hashlib.sha256(rfc8785.dumps(forged)).hexdigest()
    with sqlite3.connect(tmp_path / ".luthier" / "luthier.db") as connection:
        connection.execute("UPDATE audit SET action = 'forged', hash = ? WHERE seq = 2", (digest,))
    connection.close()
    assert audit.find_break() == 3


def test_an_unfinished_execution_keeps_its_start_and_a_finished_one_begins_anew(tmp_path: Path) -> None:
    clock = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
    workspace = Workspace.open(tmp_path, clock=clock)
    executions = workspace.executions
    executions.start("k1", "data")
    executions.stop("k1", "interrupted", {"why": "Ctrl-C"})
    clock.advance(60)
    executions.start("k1", "data")
    resumed = executions.get("k1")
    assert (resumed.state, resumed.started) == ("running", "2026-01-01T00:00:00.000000+00:00")
    record = make_dataset(seconds=3.0)
    executions.finish("k1", record)
    done = executions.find("k1", stage="data")[0]
    assert (done.state, done.record, done.ended) == ("done", record.digest, "2026-01-01T00:01:00.000000+00:00")
    assert '"seconds":3' in done.witness
    assert executions.distrust([record.digest]) == 1
    executions.start("k1", "data")
    assert executions.get("k1").started == "2026-01-01T00:01:00.000000+00:00"
