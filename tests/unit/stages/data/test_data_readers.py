"""Reading files: packing, formats, marks, and one problem a bad row with file and line."""

import json
import shlex
from pathlib import Path

import pytest

from luthier.foundation.core.errors import DataError
from luthier.stages.data.readers import streams
from luthier.stages.data.readers.formats import find_elements
from luthier.stages.data.readers.parse import MAX_DEPTH, is_deep
from luthier.stages.data.readers.source import MAX_SHOWN_PROBLEMS, Reading, read_rows
from tests.fixtures.data_rows import make_record, say, write_jsonl, write_packed


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz", "rows.jsonl.zst", "rows.txt", "rows"])
def test_jsonl_is_read_however_it_is_packed_and_named(tmp_path: Path, name: str) -> None:
    path = write_jsonl(tmp_path / name, [make_record("a"), make_record("b")])
    read = read_rows(Reading(path))
    assert (say(read.rows), read.format, read.form) == (["a", "b"], "jsonl", "messages")


def test_packing_is_told_by_content_not_by_name(tmp_path: Path) -> None:
    packed = write_jsonl(tmp_path / "rows.jsonl.gz", [make_record("a")])
    misnamed = packed.rename(tmp_path / "rows.jsonl")
    assert say(read_rows(Reading(misnamed)).rows) == ["a"]


@pytest.mark.parametrize(
    "document",
    [
        [make_record("a"), make_record("b")],
        {"version": 1, "data": [make_record("a"), make_record("b")]},
        {"rows": [make_record("a"), make_record("b")], "licences": ["MIT"]},
    ],
)
def test_a_json_document_is_an_array_or_an_object_with_one_list_of_rows(tmp_path: Path, document: object) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(document, indent=2))
    read = read_rows(Reading(path))
    assert (say(read.rows), read.format) == (["a", "b"], "json")
    assert [row.origin.line for row in read.rows] == [1, 2]


def test_a_json_document_may_be_one_row() -> None:
    record = {"prompt": [{"role": "user"}], "chosen": [{"role": "assistant"}], "rejected": [{"role": "assistant"}]}
    assert find_elements(record) == [record]
    assert find_elements(make_record("a")) == [make_record("a")]


def test_a_file_named_json_with_an_object_a_line_is_jsonl(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.json", [make_record("a"), make_record("b")])
    assert read_rows(Reading(path)).format == "jsonl"


def test_a_byte_order_mark_and_blank_lines_and_windows_line_ends_are_no_rows(tmp_path: Path) -> None:
    line = json.dumps(make_record("é"), ensure_ascii=False).encode()
    path = write_packed(tmp_path / "rows.jsonl", b"\xef\xbb\xbf" + line + b"\r\n\r\n   \n" + line)
    read = read_rows(Reading(path))
    assert say(read.rows) == ["é", "é"]
    assert [row.origin.line for row in read.rows] == [1, 4]


def test_further_columns_become_fields_and_rows_without_id_are_named_by_file_and_line(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [make_record("a", label="greeting", id="own"), make_record("b")])
    first, second = read_rows(Reading(path, name="rows.jsonl")).rows
    assert (first.id, first.fields) == ("own", {"label": "greeting"})
    assert "rows" in second.id
    assert second.id.endswith("2")


def test_every_bad_row_is_counted_and_the_first_twenty_are_shown(tmp_path: Path) -> None:
    path = write_packed(tmp_path / "our rows.jsonl", b'{"messages": \n' * 30 + json.dumps(make_record("a")).encode())
    read = read_rows(Reading(path))
    assert (read.num_problems, len(read.problems), len(read.rows)) == (30, MAX_SHOWN_PROBLEMS, 1)
    with pytest.raises(DataError) as caught:
        read.raise_problems(path)
    shown = caught.value.problems
    assert [problem.code for problem in shown] == ["E-DAT-003"] * 20 + ["E-DAT-009"]
    assert shown[6].origin == f"{path} line 7"
    assert "30 rows are bad" in shown[-1].what
    assert shlex.split(shown[-1].fix) == ["luthier", "data", "check", str(path)]


def test_a_long_line_is_never_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MAX_LINE_BYTES", 1000)
    path = write_packed(tmp_path / "rows.jsonl.gz", b"a" * 50_000_000)
    asked: list[int] = []
    with streams.open_rows(path) as stream:
        original = stream.readline
        monkeypatch.setattr(stream, "readline", lambda size: asked.append(size) or original(size), raising=False)
        with pytest.raises(DataError, match="too long"):
            list(streams.iterate_lines(stream, path))
        assert asked == [1001]
        assert stream.tell() == 1001


def test_a_line_of_exactly_the_limit_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = json.dumps(make_record("a")).encode()
    path = write_packed(tmp_path / "rows.jsonl", line + b"\n")
    monkeypatch.setattr(streams, "MAX_LINE_BYTES", len(line))
    assert len(read_rows(Reading(path)).rows) == 1


@pytest.mark.parametrize(
    ("opening", "closing", "inside"),
    [("[", "]", 0), ('{"a": ', "}", 0), ('{"a": [], "b": {}, "c": ', "}", 1), ('["}]", ', "]", 0)],
)
def test_depth_is_counted_through_siblings_and_strings(opening: str, closing: str, inside: int) -> None:
    """``inside`` is how many levels a sibling adds to the innermost one."""
    for depth in (MAX_DEPTH - 1, MAX_DEPTH, MAX_DEPTH + 1, 2 * MAX_DEPTH):
        text = opening * depth + "1" + closing * depth
        assert is_deep(text, json.loads(text)) == (depth + inside > MAX_DEPTH)


def test_unmatched_brackets_in_a_text_are_not_depth() -> None:
    value = {"text": "[" * 500, "other": [1, {"a": []}]}
    assert not is_deep(json.dumps(value), value)
