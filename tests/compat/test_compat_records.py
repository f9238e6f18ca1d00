"""Records that an earlier version wrote are read by this one, under the names that they have.

A file here is never edited. A record that changes gets a further file, ``KIND_vN.json``, beside the older ones.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import rfc8785

from luthier.foundation.core.errors import StoreError
from luthier.foundation.core.hashing import canonical_json
from luthier.foundation.schema.protocols import AnyRecord
from luthier.foundation.store import tables
from luthier.foundation.store.kinds import KINDS
from luthier.foundation.store.workspace import Workspace
from tests.fixtures.example_records import make_examples

FILES = sorted(Path(__file__).parent.glob("*_v*.json"))


def read(path: Path) -> dict[str, Any]:
    stored = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(stored, dict)
    return stored


def bring_up_to_date(stored: dict[str, Any]) -> AnyRecord:
    """Read a stored record as the store does, without the store."""
    kind = KINDS[stored["kind"]]
    parts = (stored["identity"], stored["witness"])
    for version in range(stored["schema_version"], kind.record_class.SCHEMA_VERSION):
        parts = kind.upgrades[version](*parts)
    return kind.record_class.model_validate({"identity": parts[0], "witness": parts[1]})


def test_every_kind_has_a_file_of_every_version_it_ever_had() -> None:
    wanted = {
        f"{name}_v{version}.json"
        for name, kind in KINDS.items()
        for version in range(1, kind.record_class.SCHEMA_VERSION + 1)
    }

    assert {path.name for path in FILES} == wanted


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_files_digest_is_the_sha256_of_its_identity(path: Path) -> None:
    """By another writer of canonical JSON and with nothing of ours: the file is what it says it is."""
    stored = read(path)
    hashed = rfc8785.dumps({name: stored[name] for name in ("kind", "schema_version", "identity")})

    assert hashlib.sha256(hashed).hexdigest() == stored["digest"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_stored_record_is_read_and_means_what_it_meant(path: Path) -> None:
    stored = read(path)
    record = bring_up_to_date(stored)

    assert stored["kind"] == record.KIND
    if stored["schema_version"] == record.SCHEMA_VERSION:
        assert record.digest == stored["digest"]
        assert record.to_json() == stored
        assert record == make_examples()[record.KIND]


def test_a_workspace_gives_back_what_an_earlier_version_put_into_it(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path)
    by_digest = {stored["digest"]: stored for stored in map(read, FILES)}
    for digest, stored in by_digest.items():
        put = workspace.records.put(bring_up_to_date(stored), stage=stored["kind"], cache_key=digest)
        assert put == digest
    again = Workspace.open(tmp_path)

    for digest, stored in by_digest.items():
        assert again.records.get(digest).to_json() == stored
    report = next(digest for digest, stored in by_digest.items() if stored["kind"] == "report")
    kinds = {by_digest[step.digest]["kind"] for step in again.records.walk_parents(report)}
    assert kinds == {"run", "plan", "model_choice", "dataset_version"}


def test_a_record_of_a_later_version_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path)
    stored = read(FILES[0])
    digest = workspace.records.put(bring_up_to_date(stored), stage="data", cache_key="k" * 64)
    later = stored | {"schema_version": 99}
    name = hashlib.sha256(
        canonical_json({key: later[key] for key in ("kind", "schema_version", "identity")})
    ).hexdigest()
    with workspace.database.write() as connection:
        connection.execute(
            tables.records.update().where(tables.records.c.digest == digest).values(digest=name, schema_version=99)
        )

    for _ in range(2):
        with pytest.raises(StoreError, match="newer version") as caught:
            workspace.records.get(name)
        assert caught.value.code == "E-STO-001"
        assert caught.value.problems[0].fix == "pip install --upgrade luthier"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_record_with_a_field_that_nobody_knows_is_not_half_read(path: Path) -> None:
    stored = read(path)
    for part in ("identity", "witness"):
        with pytest.raises(ValueError, match="Extra inputs are not permitted"):
            bring_up_to_date(stored | {part: stored[part] | {"surprise": 1}})
