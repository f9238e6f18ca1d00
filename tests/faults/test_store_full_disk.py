"""A full disk at every write: what was stored before is intact, and afterwards all goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, event

from luthier.foundation.core.errors import StoreError
from luthier.foundation.schema.dataset import DatasetVersion
from luthier.foundation.store.workspace import Workspace
from tests.fixtures.fake_stages import Bench
from tests.fixtures.store_records import FailingFileSystem, make_dataset

pytestmark = pytest.mark.fault


@contextmanager
def no_room_after(workspace: Workspace, num_pages: int) -> Iterator[None]:
    """Let SQLite itself report a full disk once the database would need more pages than it has and these."""

    def limit(connection: Connection) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + num_pages}")

    engine = workspace.database._engine
    event.listen(engine, "begin", limit)
    try:
        yield
    finally:
        event.remove(engine, "begin", limit)
        engine.dispose()


def try_to_put(workspace: Workspace, record: DatasetVersion, *, num_pages: int) -> StoreError | None:
    try:
        with no_room_after(workspace, num_pages):
            workspace.records.put(record, stage="data", cache_key="")
    except StoreError as error:
        return error
    return None


def test_a_database_without_room_for_a_record_keeps_the_old_ones_and_takes_new_ones_later(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path)
    old = workspace.records.put(make_dataset(num_rows=1), stage="data", cache_key="")
    big = make_dataset(parents={f"parent{number}": "0" * 64 for number in range(400)})
    failures = 0
    while (error := try_to_put(workspace, big, num_pages=4 * failures)) is not None:
        failures += 1
        assert (error.code, error.exit_code) == ("E-ENV-003", 4)
        assert workspace.records.get(old).digest == old
        assert [entry.digest for entry in workspace.records.entries()] == [old]
        assert workspace.records.walk_parents(big.digest) == []
    assert failures >= 3, "the disk was full at several writes of one record"
    assert workspace.records.get(big.digest) == big


def test_a_full_disk_at_every_write_of_a_corridor_loses_nothing_and_running_again_ends_well(tmp_path: Path) -> None:
    counting = FailingFileSystem(0)
    expected = [result.digest for result in _bench(tmp_path, "count", fs=counting).run().stages]
    assert counting.num_calls > 20
    for fail_at in range(1, counting.num_calls + 1, 3):
        bench = _bench(tmp_path, f"full{fail_at}", fs=FailingFileSystem(fail_at))
        with pytest.raises(StoreError) as caught:
            bench.run()
        assert caught.value.code == "E-ENV-003"
        done = {entry.digest for entry in bench.workspace.records.entries()}
        assert done <= set(expected)
        bench.workspace_options = {}
        result = bench.run()
        assert [stage.digest for stage in result.stages] == expected
        assert {stage.digest for stage in result.stages if stage.reused} == done
        assert not list((bench.root / ".luthier").rglob(".tmp-*"))
        shutil.rmtree(bench.root)


def test_a_real_full_disk_is_one_sentence_and_keeps_what_was_there(tmp_path: Path) -> None:
    mount = shutil.which("mount")
    place = tmp_path / "small"
    place.mkdir()
    if not mount or subprocess.run([mount, "-t", "tmpfs", "-o", "size=1m", "none", place], check=False).returncode:
        pytest.skip("this system does not let a test mount a small file system")
    try:
        workspace = Workspace.open(place)
        kept = workspace.blobs.put(b"kept")
        workspace.records.put(make_dataset(blob=kept), stage="data", cache_key="")
        with pytest.raises(StoreError) as caught:
            workspace.blobs.put(os.urandom(2 << 20))
        assert caught.value.code == "E-ENV-003"
        assert "MiB free" in caught.value.problems[0].got
        assert workspace.blobs.get(kept) == b"kept"
        assert list(workspace.blobs.iterate_digests()) == [kept]
        workspace.blobs.put(b"small enough")
        workspace.database._engine.dispose()
    finally:
        subprocess.run([shutil.which("umount") or "umount", place], check=True)


def _bench(tmp_path: Path, name: str, **options: object) -> Bench:
    (tmp_path / name).mkdir()
    return Bench(tmp_path / name, **options)
