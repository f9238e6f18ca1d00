"""gc: what a record names stays, directly or through rows; what nothing needs goes, and a dry run only tells."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.foundation.core.clock import FixedClock
from luthier.foundation.schema.rows import Message, Part, Row
from luthier.foundation.store.workspace import Workspace
from tests.fixtures.store_records import make_dataset

NOW = datetime(2026, 6, 1, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=30)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path, clock=FixedClock(NOW))


def put(workspace: Workspace, data: bytes, when: datetime = LONG_AGO) -> str:
    return age(workspace, workspace.blobs.put(data), when)


def age(workspace: Workspace, digest: str, when: datetime = LONG_AGO) -> str:
    os.utime(workspace.blobs.locate(digest), (when.timestamp(), when.timestamp()))
    return digest


def make_folder(workspace: Workspace, name: str, when: datetime) -> Path:
    folder = workspace.folder / name
    folder.mkdir(parents=True)
    (folder / "checkpoint").write_bytes(b"x" * 1000)
    for path in (folder / "checkpoint", folder):
        os.utime(path, (when.timestamp(), when.timestamp()))
    return folder


def test_a_dry_run_tells_what_a_real_one_then_deletes(workspace: Workspace) -> None:
    kept, idle = put(workspace, b"kept"), put(workspace, b"idle!")
    workspace.records.put(make_dataset(blob=kept), stage="data", cache_key="")
    told = workspace.gc(is_dry_run=True)
    assert (told.blobs, told.freed_bytes, told.is_dry_run) == ((idle,), 5, True)
    assert workspace.blobs.get(idle) == b"idle!"
    done = workspace.gc()
    assert (done.blobs, done.freed_bytes) == ((idle,), 5)
    assert list(workspace.blobs.iterate_digests()) == [kept]


@given(named=st.sets(st.integers(0, 5)), images=st.sets(st.integers(0, 5)), idle=st.sets(st.integers(0, 5)))
@settings(max_examples=6, deadline=None)
def test_gc_never_deletes_what_a_record_names_directly_or_through_rows(tmp_path_factory, named, images, idle) -> None:
    workspace = Workspace.open(tmp_path_factory.mktemp("w"), clock=FixedClock(NOW))
    pictures = [put(workspace, b"image%d" % number) for number in images]
    content = tuple(Part(type="image", blob=digest) for digest in pictures)
    rows = age(workspace, workspace.blobs.put_rows([Row(id="r", messages=(Message(role="user", content=content),))]))
    expected = {rows, *pictures}
    for number in idle:
        put(workspace, b"idle%d" % number)
    for number in named:
        digest = put(workspace, b"named%d" % number)
        expected.add(digest)
        workspace.records.put(make_dataset(blob=digest), stage="data", cache_key="")
    workspace.records.put(make_dataset(blob=rows), stage="data", cache_key="")
    assert len(workspace.gc().blobs) == len(idle)
    assert set(workspace.blobs.iterate_digests()) == expected


@pytest.mark.parametrize(
    ("state", "days", "stays"), [("waiting", 100, True), ("failed", 2, True), ("failed", 9, False)]
)
def test_blobs_of_an_execution_that_may_go_on_stay(workspace: Workspace, state, days, stays) -> None:
    workspace.executions.start("k" * 64, "train")
    workspace.executions.stop("k" * 64, state, {})
    workspace.clock.advance(days * 86400)
    written_since = put(workspace, b"answers so far", NOW + timedelta(days=1))
    written_before = put(workspace, b"older than the execution")
    swept = workspace.gc()
    assert written_before in swept.blobs
    assert (written_since not in swept.blobs) == stays


def test_a_blob_that_is_stored_again_counts_as_new(tmp_path: Path) -> None:
    """The file's time is the machine's, so the clock stands one day before it."""
    now = datetime.now(tz=UTC)
    workspace = Workspace.open(tmp_path, clock=FixedClock(now - timedelta(days=1)))
    digest = put(workspace, b"found again", now - timedelta(days=30))
    assert workspace.gc(is_dry_run=True).blobs == (digest,)
    workspace.blobs.put(b"found again")
    assert workspace.gc().blobs == ()


def test_old_folders_go_young_and_waiting_and_locked_ones_stay_and_models_are_never_touched(workspace) -> None:
    workspace.executions.start("c" * 64, "deploy")
    workspace.executions.stop("c" * 64, "waiting", {})
    old = make_folder(workspace, "runs/aaaaaaaaaaaa", LONG_AGO)
    young = make_folder(workspace, "work/bbbbbbbbbbbb", NOW - timedelta(days=1))
    waiting = make_folder(workspace, "work/cccccccccccc", LONG_AGO)
    locked = make_folder(workspace, "runs/dddddddddddd", LONG_AGO)
    models = make_folder(workspace, "models/base", LONG_AGO)
    release = make_folder(workspace, "releases/x", LONG_AGO)
    with workspace.locks.hold("d" * 64, is_settled=bool, on_wait=print, on_takeover=print):
        swept = workspace.gc()
    assert swept.folders == ("runs/aaaaaaaaaaaa",)
    assert swept.freed_bytes == 1000
    assert not old.exists()
    assert all(folder.exists() for folder in (young, waiting, locked, models, release))


def test_what_a_killed_writer_left_goes_when_it_is_old(workspace: Workspace) -> None:
    workspace.blobs.put(b"x")
    for name, when in (("old", LONG_AGO), ("new", NOW)):
        leftover = workspace.folder / "blobs" / f".tmp-{name}"
        leftover.write_bytes(b"half")
        os.utime(leftover, (when.timestamp(), when.timestamp()))
    assert workspace.gc().folders == ("blobs/.tmp-old",)
    assert [path.name for path in (workspace.folder / "blobs").glob(".tmp-*")] == [".tmp-new"]
