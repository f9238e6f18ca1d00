"""Blobs: content-addressed, canonical, verified on every read."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.foundation.core.errors import StoreError
from luthier.foundation.schema.rows import FunctionCall, Message, Origin, Part, Row, ToolCall
from luthier.foundation.store.blobs import FolderBlobs
from luthier.foundation.store.workspace import Workspace
from tests.fixtures.store_records import FailingFileSystem, make_dataset

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
MESSAGES = st.builds(
    Message,
    role=st.sampled_from(["system", "user", "assistant", "tool"]),
    content=TEXT | st.tuples(st.builds(Part, type=st.just("text"), text=TEXT)),
    tool_calls=st.lists(
        st.builds(ToolCall, id=TEXT, function=st.builds(FunctionCall, name=TEXT, arguments=TEXT)), max_size=2
    ).map(tuple),
    is_trained=st.none() | st.booleans(),
)
ROWS = st.builds(
    Row,
    id=TEXT,
    kind=st.sampled_from(["conversation", "preference", "judged", "text"]),
    messages=st.lists(MESSAGES, max_size=3).map(tuple),
    tools=st.lists(st.dictionaries(TEXT, JSON_VALUES, max_size=2), max_size=2).map(tuple),
    chosen=st.lists(MESSAGES, max_size=1).map(tuple),
    label=st.none() | st.booleans(),
    text=TEXT,
    fields=st.dictionaries(TEXT, JSON_VALUES, max_size=3),
    origin=st.builds(Origin, file=TEXT, line=st.integers(0, 9)),
)


def test_a_blob_is_named_by_the_sha256_of_its_bytes_and_lies_under_its_first_two_digits(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path / "blobs")
    digest = blobs.put(b"hello")
    expected = hashlib.sha256(b"hello").hexdigest()
    assert digest == expected
    assert (tmp_path / "blobs" / expected[:2] / expected[2:]).read_bytes() == b"hello"
    assert blobs.get(digest) == b"hello"
    assert blobs.path(digest).read_bytes() == b"hello"


def test_bytes_a_file_and_lines_of_the_same_content_are_one_blob(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path / "blobs")
    line = b'{"a":1,"b":[true,null]}\n'
    (tmp_path / "f").write_bytes(line)
    assert blobs.put(line) == blobs.put_file(tmp_path / "f") == blobs.put_lines([{"b": [True, None], "a": 1}])
    assert len([path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]) == 1


@given(items=st.dictionaries(TEXT, JSON_VALUES, max_size=5), seed=st.randoms())
@settings(max_examples=25, deadline=None)
def test_the_digest_of_lines_does_not_depend_on_the_order_of_keys(tmp_path_factory, items, seed) -> None:
    blobs = FolderBlobs(tmp_path_factory.mktemp("blobs"))
    keys = list(items)
    seed.shuffle(keys)
    digest = blobs.put_lines([items])
    assert digest == blobs.put_lines([{key: items[key] for key in keys}])
    assert list(blobs.get_lines(digest)) == [items]
    assert blobs.put_lines(blobs.get_lines(digest)) == digest


@given(rows=st.lists(ROWS, max_size=4))
@settings(max_examples=30, deadline=None)
def test_rows_come_back_as_they_were(tmp_path_factory, rows) -> None:
    blobs = FolderBlobs(tmp_path_factory.mktemp("blobs"))
    assert list(blobs.get_rows(blobs.put_rows(rows))) == rows


def test_a_row_line_holds_only_what_differs_from_the_defaults(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path / "blobs")
    row = Row(id="r1", messages=(Message(role="user", content="hi"),), origin=Origin(file="a.jsonl", line=1))
    expected = b'{"id":"r1","messages":[{"content":"hi","role":"user"}],"origin":{"file":"a.jsonl","line":1}}\n'
    assert blobs.get(blobs.put_rows([row])) == expected


@pytest.mark.parametrize("value", [2**53, float("nan"), float("inf"), "\ud800"])
def test_a_value_without_a_canonical_form_is_refused_with_its_row_named_and_nothing_stays(tmp_path, value) -> None:
    blobs = FolderBlobs(tmp_path / "blobs")
    with pytest.raises(StoreError) as caught:
        blobs.put_lines([{"id": "fine"}, {"id": "row-2", "x": value}])
    problem = caught.value.problems[0]
    assert problem.code == "E-STO-006"
    assert "object 2" in problem.what
    assert problem.got == "row-2"
    assert problem.fix
    assert [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()] == []


def test_a_damaged_blob_is_refused_and_named_with_the_record_that_refers_to_it(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path)
    digest = workspace.blobs.put(b"rows of training")
    record = make_dataset(blob=digest)
    workspace.records.put(record, stage="data", cache_key="")
    place = workspace.blobs.locate(digest)
    place.write_bytes(place.read_bytes()[:-1] + b"G")
    for read in (workspace.blobs.get, workspace.blobs.path, workspace.blobs.get_lines, workspace.blobs.get_rows):
        with pytest.raises(StoreError) as caught:
            read(digest)
        assert caught.value.code == "E-STO-003"
        assert caught.value.exit_code == 4
        assert digest[:12] in str(caught.value)
        assert f"dataset_version {record.digest[:12]}" in str(caught.value)


def test_a_missing_blob_is_refused_and_named_with_the_record_that_refers_to_it(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path)
    digest = workspace.blobs.put(b"rows of training")
    record = make_dataset(blob=digest)
    workspace.records.put(record, stage="data", cache_key="")
    workspace.blobs.locate(digest).unlink()
    with pytest.raises(StoreError) as caught:
        workspace.blobs.get(digest)
    problem = caught.value.problems[0]
    assert (problem.code, problem.field) == ("E-STO-002", digest)
    assert record.digest[:12] in problem.what


def test_putting_the_same_bytes_again_heals_a_damaged_blob(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path / "blobs")
    for put in (lambda: blobs.put(b"abc"), lambda: blobs.put_lines([{"a": 1}])):
        digest = put()
        blobs.locate(digest).write_bytes(b"damage")
        assert put() == digest
        blobs.get(digest)


def test_a_full_disk_at_any_write_of_a_blob_leaves_the_old_state_intact(tmp_path: Path) -> None:
    counter = FailingFileSystem(fail_at=0)
    FolderBlobs(tmp_path / "count", fs=counter).put(b"new" * 100)
    assert counter.num_calls >= 4, "write, rename and two folder syncs"
    for fail_at in range(1, counter.num_calls + 1):
        folder = tmp_path / f"blobs{fail_at}"
        old = FolderBlobs(folder).put(b"old")
        with pytest.raises(StoreError) as caught:
            FolderBlobs(folder, fs=FailingFileSystem(fail_at)).put(b"new" * 100)
        assert caught.value.code == "E-ENV-003"
        blobs = FolderBlobs(folder)
        assert blobs.get(old) == b"old"
        assert not list(folder.glob(".tmp-*"))
        for digest in blobs.iterate_digests():
            blobs.get(digest)  # whatever is visible is whole
        assert blobs.get(blobs.put(b"new" * 100)) == b"new" * 100
