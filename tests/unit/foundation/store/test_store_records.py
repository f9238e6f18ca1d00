"""Records: named by their digest, walked by their parents, upgraded when old, refused when newer or damaged."""

from __future__ import annotations

import hashlib
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.foundation.core.clock import FixedClock
from luthier.foundation.core.errors import RecipeError, StoreError
from luthier.foundation.schema.noun import Identity, Record, Witness
from luthier.foundation.store.kinds import KINDS, Kind
from luthier.foundation.store.records import RecordStore
from luthier.foundation.store.workspace import Workspace
from tests.fixtures.store_records import make_dataset


class OldIdentity(Identity):
    rate: float


class NewIdentity(Identity):
    rate_per_second: float


class OldNote(Record[OldIdentity, Witness]):
    KIND: ClassVar[str] = "note"


class NewNote(Record[NewIdentity, Witness]):
    KIND: ClassVar[str] = "note"
    SCHEMA_VERSION: ClassVar[int] = 2


def rename_rate(identity: dict[str, Any], witness: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"parents": identity["parents"], "rate_per_second": identity["rate"]}, witness


def test_a_record_comes_back_whole_and_its_name_is_the_rfc_8785_digest_of_its_identity(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path)
    record = make_dataset(seconds=1.5)
    digest = workspace.records.put(record, stage="data", cache_key="k")
    by_hand = {"identity": record.identity.model_dump(mode="json"), "schema_version": 1, "kind": "dataset_version"}
    assert digest == hashlib.sha256(rfc8785.dumps(by_hand)).hexdigest()
    assert workspace.records.get(digest) == record


def test_the_witness_is_no_part_of_the_name_and_the_newest_is_kept(tmp_path: Path) -> None:
    records = Workspace.open(tmp_path).records
    first = records.put(make_dataset(seconds=1.0), stage="data", cache_key="a")
    assert records.put(make_dataset(seconds=2.0), stage="data", cache_key="b") == first
    assert records.get(first).witness.seconds == 2.0
    assert len(records.entries()) == 1


@given(st.dictionaries(st.text(max_size=5), st.integers(0, 99), min_size=2, max_size=6), st.randoms())
@settings(max_examples=40, deadline=None)
def test_the_digest_of_a_record_does_not_depend_on_the_order_of_keys(reasons, random) -> None:
    def dataset(items: list[tuple[str, int]]) -> str:
        record = make_dataset()
        operators = ({"operator": "x", **dict(items)},)
        return record.model_copy(
            update={"identity": record.identity.model_copy(update={"operators": operators})}
        ).digest

    items = list(reasons.items())
    shuffled = random.sample(items, len(items))
    assert dataset(items) == dataset(shuffled)


def test_lineage_is_walked_up_and_down_each_record_once(tmp_path: Path) -> None:
    """A diamond: d has parents b and c, which share a."""
    records = Workspace.open(tmp_path).records
    a = records.put(make_dataset(num_rows=1), stage="data", cache_key="")
    b = records.put(make_dataset(num_rows=2, parents={"data": a}), stage="data", cache_key="")
    c = records.put(make_dataset(num_rows=3, parents={"data": a}), stage="data", cache_key="")
    d = records.put(make_dataset(num_rows=4, parents={"left": b, "right": c}), stage="data", cache_key="")
    assert [(step.depth, step.name, step.digest) for step in records.walk_parents(d)] == [
        (1, "left", b),
        (1, "right", c),
        (2, "data", a),
    ]
    assert {(step.depth, step.digest) for step in records.walk_children(a)} == {(1, b), (1, c), (2, d)}
    assert records.walk_children(d) == []


def test_a_record_is_found_by_its_first_eight_digits(tmp_path: Path) -> None:
    records = Workspace.open(tmp_path).records
    digest = records.put(make_dataset(), stage="data", cache_key="")
    assert records.find(digest[:8]) == digest
    assert records.find(digest, kind="dataset_version") == digest
    for prefix in (digest[:7], "0" * 8, "%", "not-hex!"):
        with pytest.raises(RecipeError) as caught:
            records.find(prefix)
        problem = caught.value.problems[0]
        assert (problem.code, problem.got) == ("E-STO-004", prefix)
        assert problem.fix
    with pytest.raises(RecipeError, match="E-STO-004"):
        records.find(digest, kind="run")
    with pytest.raises(StoreError, match="E-STO-004"):
        records.get("f" * 64)


def test_the_latest_record_of_a_kind_is_the_one_stored_last(tmp_path: Path) -> None:
    clock = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
    records = Workspace.open(tmp_path, clock=clock).records
    assert records.latest("dataset_version") is None
    for number in range(3):
        records.put(make_dataset(num_rows=number), stage="data", cache_key="")
    assert records.latest("dataset_version").identity.splits["train"].num_rows == 2


def test_a_record_changed_behind_our_back_is_refused_and_named(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path)
    digest = workspace.records.put(make_dataset(num_rows=1), stage="data", cache_key="")
    with sqlite3.connect(tmp_path / ".luthier" / "luthier.db") as connection:
        connection.execute("UPDATE records SET identity = replace(identity, '\"num_rows\":1', '\"num_rows\":9')")
    connection.close()
    with pytest.raises(StoreError) as caught:
        workspace.records.get(digest)
    assert caught.value.problems[0].code == "E-STO-005"
    assert digest[:12] in caught.value.problems[0].what


def test_a_record_of_an_older_schema_version_is_upgraded_and_found_by_its_old_name(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path)
    old = RecordStore(workspace.database, workspace.clock, kinds={"note": Kind(OldNote)})
    digest = old.put(OldNote(identity=OldIdentity(rate=2.5), witness=Witness()), stage="x", cache_key="")
    new = RecordStore(workspace.database, workspace.clock, kinds={"note": Kind(NewNote, {1: rename_rate})})
    assert new.get(digest) == NewNote(identity=NewIdentity(rate_per_second=2.5), witness=Witness())


def test_a_record_of_a_newer_schema_version_or_kind_is_refused(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path)
    new = RecordStore(workspace.database, workspace.clock, kinds={"note": Kind(NewNote, {1: rename_rate})})
    note = NewNote(identity=NewIdentity(rate_per_second=1.0), witness=Witness())
    digest = new.put(note, stage="x", cache_key="")
    for kinds in ({"note": Kind(OldNote)}, KINDS):
        with pytest.raises(StoreError) as caught:
            RecordStore(workspace.database, workspace.clock, kinds=kinds).get(digest)
        assert caught.value.problems[0].code == "E-STO-001"
        assert caught.value.exit_code == 4
