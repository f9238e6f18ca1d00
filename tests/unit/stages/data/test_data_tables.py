"""CSV, Parquet and folders: the same rows as JSONL gives, each with its place."""

import csv
import datetime
import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luthier.foundation.schema.rows import Row
from luthier.foundation.schema.sections import DataSection, Source, Split
from luthier.stages.data import stage
from luthier.stages.data.check import check_file
from luthier.stages.data.readers.csv_file import find_delimiter
from luthier.stages.data.readers.source import Reading, RowsRead, read_rows
from luthier.stages.data.sources import digest_source
from tests.fixtures.data_rows import DataContext, make_record, say, write_jsonl, write_packed

PAIRS = [("Where is it?", "On its way."), ('He said: "no"; why, though?', "Two\nlines"), ("größe €", "ß")]
TOOLS = [
    {"type": "function", "function": {"name": "find", "parameters": {"properties": {"id": {"type": "string"}}}}},
    {"type": "function", "function": {"name": "stop", "parameters": {"properties": {"why": {"type": "string"}}}}},
]


def write_csv(path: Path, records: Sequence[Sequence[str]], delimiter: str = ",", ending: str = "\r\n") -> Path:
    """Write by the standard library, packed as the name says."""
    plain = path.with_name("plain")
    with plain.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, delimiter=delimiter, lineterminator=ending).writerows(records)
    return write_packed(path, plain.read_bytes())


def read(path: Path, **options: Any) -> RowsRead:
    found = read_rows(Reading(path, name=path.name, **options))
    found.raise_problems(path)
    return found


def pairs(rows: Sequence[Row]) -> list[tuple[str, str]]:
    return [(row.messages[0].text, row.messages[1].text) for row in rows]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("name", ["rows.csv", "rows.csv.gz", "rows.CSV", "rows.csv.zst", "rows.tsv"])
def test_csv_is_read_whatever_parts_its_fields_and_however_it_is_packed(
    tmp_path: Path, name: str, delimiter: str
) -> None:
    found = read(write_csv(tmp_path / name, [("prompt", "completion"), *PAIRS], delimiter))

    assert (pairs(found.rows), found.format, found.form) == (PAIRS, "csv", "prompt_completion")


def test_lines_are_those_of_the_file_where_fields_hold_line_ends_and_blank_lines_stand_between(tmp_path: Path) -> None:
    """Header on line 1; the record of line 3 goes to line 4; line 5 is blank."""
    path = write_packed(tmp_path / "rows.csv", b'prompt,completion\na,1\n"b\nb",2\n\nc,3\n')

    assert [row.origin.line for row in read(path).rows] == [2, 3, 6]
    assert [row.id for row in read(path).rows] == ["rows-2", "rows-3", "rows-6"]


def test_a_mark_a_stated_delimiter_and_spaces_in_the_header_are_no_part_of_names(tmp_path: Path) -> None:
    path = write_packed(tmp_path / "rows.csv", b"\xef\xbb\xbfsep=;\r\n prompt ;completion\r\na, or b;1\r\n")
    found = read(path)

    assert (pairs(found.rows), found.rows[0].origin.line) == ([("a, or b", "1")], 3)


def test_a_column_without_a_name_is_called_by_its_number(tmp_path: Path) -> None:
    """As pandas writes its index."""
    path = write_packed(tmp_path / "rows.csv", b",prompt,completion\n0,a,b\n")

    assert read(path).rows[0].fields == {"column 1": "0"}


def test_one_column_of_texts_is_read_though_the_texts_hold_commas(tmp_path: Path) -> None:
    found = read(write_csv(tmp_path / "rows.csv", [("text",), ("one, two; three",), ("four",)]))

    assert ([row.text for row in found.rows], found.form) == (["one, two; three", "four"], "text")


def test_columns_are_mapped_by_name(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "rows.csv", [("Frage", "Antwort", "lang"), ("wo?", "hier", "de")], ";")
    found = read(path, columns={"prompt": "Frage", "completion": "Antwort"})

    assert (pairs(found.rows), found.rows[0].fields) == ([("wo?", "hier")], {"lang": "de"})


def test_cells_that_hold_json_are_what_they_hold(tmp_path: Path) -> None:
    record = make_record("a", "b", tools=TOOLS, note="[1, 2]")
    cells = [value if isinstance(value, str) else json.dumps(value) for value in record.values()]
    (row,) = read(write_csv(tmp_path / "rows.csv", [tuple(record), cells])).rows
    (expected,) = read(write_jsonl(tmp_path / "rows.jsonl", [record])).rows

    assert (row.messages, row.tools, row.fields) == (expected.messages, expected.tools, {"note": "[1, 2]"})


def test_a_prompt_that_looks_like_json_stays_a_text(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "rows.csv", [("prompt", "completion"), ('[{"a": 1}]', "[1]"), ("{", "[x]")])

    assert pairs(read(path).rows) == [('[{"a": 1}]', "[1]"), ("{", "[x]")]


def test_a_label_of_true_or_false_judges_a_completion(tmp_path: Path) -> None:
    head = ("prompt", "completion", "label")
    found = read(write_csv(tmp_path / "rows.csv", [head, ("a", "b", "True"), ("a", "c", "false")]))

    assert (found.form, [row.label for row in found.rows]) == ("judged", [True, False])


texts = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(rows=st.lists(st.tuples(texts, texts), min_size=1, max_size=8), delimiter=st.sampled_from([",", ";", "\t"]))
def test_any_table_that_the_standard_library_writes_comes_back(
    tmp_path: Path, rows: list[tuple[str, str]], delimiter: str
) -> None:
    found = read(write_csv(tmp_path / "rows.csv", [("prompt", "completion"), *rows], delimiter))

    assert pairs(found.rows) == rows


@pytest.mark.parametrize(
    ("lines", "delimiter"),
    [
        (["a;b;c\n", "1,5;2,5;3\n"], ";"),
        (["a,b\n", "x; y; z,1\n"], ","),
        (["text\n", "a, b\n", "c\n"], ","),
        (["a\tb\n"], "\t"),
        ([], ","),
    ],
)
def test_the_delimiter_is_the_one_by_which_records_are_alike(lines: list[str], delimiter: str) -> None:
    assert find_delimiter(lines) == delimiter


# Parquet.


def write_parquet(path: Path, records: Sequence[dict[str, Any]], **options: Any) -> Path:
    pq.write_table(pa.Table.from_pylist(list(records)), path, **options)
    return path


def test_nested_messages_and_tools_of_parquet_are_those_of_jsonl(tmp_path: Path) -> None:
    """Parquet fills in the fields that another tool or message has; they are not the row's."""
    call = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"id": "7"}'}}
    records: list[dict[str, Any]] = [
        {
            "messages": [{"role": "user", "content": "find 7"}, {"role": "assistant", "tool_calls": [call]}],
            "tools": TOOLS,
        },
        {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}], "tools": TOOLS[:1]},
    ]
    found = read(write_parquet(tmp_path / "rows.parquet", records))
    expected = read(write_jsonl(tmp_path / "rows.jsonl", records))

    assert found.format == "parquet"
    for ours, theirs in zip(found.rows, expected.rows, strict=True):
        assert (ours.messages, ours.tools, ours.fields) == (theirs.messages, theirs.tools, theirs.fields)


def test_parquet_is_told_by_its_bytes_and_rows_are_numbered(tmp_path: Path) -> None:
    records = [{"prompt": f"q{n}", "completion": f"a{n}"} for n in range(700)]
    found = read(write_parquet(tmp_path / "part-0", records, row_group_size=100))

    assert (found.format, found.num_rows) == ("parquet", 700)
    assert [row.origin.line for row in found.rows] == list(range(1, 701))


def test_values_that_json_lacks_are_kept_as_texts_or_as_nothing(tmp_path: Path) -> None:
    when = datetime.datetime(2026, 2, 3, 4, 5, 6)  # noqa: DTZ001  as Parquet has it
    record = {"text": "t", "when": when, "day": when.date(), "price": Decimal("9.90"), "rate": float("nan"), "n": 3}
    (row,) = read(write_parquet(tmp_path / "rows.parquet", [record])).rows

    assert row.fields == {"when": "2026-02-03T04:05:06", "day": "2026-02-03", "price": "9.90", "rate": None, "n": 3}


def test_json_texts_in_parquet_are_what_they_hold(tmp_path: Path) -> None:
    record = {**make_record("a"), "tools": json.dumps(TOOLS)}
    (row,) = read(write_parquet(tmp_path / "rows.parquet", [record])).rows

    assert list(row.tools) == TOOLS


# Folders.


def fill(folder: Path) -> Path:
    """Write one row in each format that is read, and files that are none."""
    (folder / "b").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    write_jsonl(folder / ".hidden" / "no.jsonl", [make_record("no")])
    write_jsonl(folder / ".no.jsonl", [make_record("no")])
    (folder / "README.md").write_text("no rows here")
    write_jsonl(folder / "z.jsonl.gz", [make_record("z")])
    write_jsonl(folder / "b" / "x.jsonl", [make_record("bx")])
    write_jsonl(folder / "x.jsonl", [make_record("x")])
    write_parquet(folder / "a.parquet", [make_record("a")])
    (folder / "link.jsonl").symlink_to(folder / "x.jsonl")
    return folder


def test_a_folder_is_all_its_files_of_rows_by_path(tmp_path: Path) -> None:
    found = read(fill(tmp_path / "rows"))

    assert (say(found.rows), found.format, found.form) == (["a", "bx", "x", "z"], "folder", "messages")
    assert [row.origin.file for row in found.rows] == [
        "rows/a.parquet", "rows/b/x.jsonl", "rows/x.jsonl", "rows/z.jsonl.gz",
    ]  # fmt: skip


def test_a_folders_digest_is_its_files_names_and_bytes_and_not_where_it_lies(tmp_path: Path) -> None:
    one, other = fill(tmp_path / "one"), fill(tmp_path / "other" / "deep")
    digest = digest_source(one)
    assert digest_source(other) == digest

    (other / "README.md").write_text("changed, but no row is")
    assert digest_source(other) == digest
    (other / "x.jsonl").rename(other / "y.jsonl")
    assert digest_source(other) != digest


def test_stage_one_reads_a_folder_and_gives_rows_of_like_name_their_own_ids(tmp_path: Path) -> None:
    fill(tmp_path / "rows")
    section = DataSection(sources=(Source(path="rows"),), split=Split(validation=0, test=0))
    context = DataContext(tmp_path)
    record = stage.run(section, {}, context)
    rows = list(context.blobs.get_rows(record.identity.splits["train"].blob))

    assert (record.identity.sources[0].format, len(rows), len({row.id for row in rows})) == ("folder", 4, 4)
    assert stage.fingerprint(section, context)["sources"][0]["digest"] == record.identity.sources[0].digest


def test_a_folder_of_plain_texts_is_one_row_a_file_and_beside_rows_they_are_notes(tmp_path: Path) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    for name, text in (("b.txt", "second\n\npage"), ("a.txt", "first")):
        (texts / name).write_text(text)
    found = read(texts)
    assert ([row.text for row in found.rows], found.form) == (["first", "second\n\npage"], "text")
    assert len({row.id for row in found.rows}) == 2
    assert read(texts / "a.txt").format == "text"

    rows = fill(tmp_path / "rows")
    (rows / "LICENSE.txt").write_text("use it as you like")
    assert say(read(rows).rows) == ["a", "bx", "x", "z"]


@pytest.mark.parametrize("form", ["auto", "text"])
def test_a_label_beside_a_text_is_said_to_train_nothing_unless_the_recipe_says_text(tmp_path: Path, form: str) -> None:
    table = write_csv(tmp_path / "rows.csv", [("text", "label"), ("my parcel is late", "delivery"), ("a", "b")])
    found = read_rows(Reading(table, form=form))
    assert (found.form, found.num_rows) == ("text", 2)
    meant = "columns: {prompt: text, completion: label}"
    assert (meant in found.hint) == (form == "auto")
    assert check_file(Reading(table, form=form)).hint == found.hint
    documents = write_csv(tmp_path / "pages.csv", [("text", "number"), ("a page", "1")])
    assert not read_rows(Reading(documents)).hint


def test_stage_one_says_which_column_it_does_not_train(tmp_path: Path) -> None:
    write_csv(tmp_path / "rows.csv", [("text", "label"), *((f"text {n} of its own", f"label {n}") for n in range(4))])
    told: list[str] = []
    context = DataContext(tmp_path)
    context.progress.say = told.append
    stage.run(DataSection(sources=(Source(path="rows.csv"),), split=Split(validation=0, test=0)), {}, context)
    assert [line for line in told if "'label'" in line and "completion: label" in line]


def test_any_format_can_be_checked(tmp_path: Path) -> None:
    table = write_csv(tmp_path / "rows.csv", [("prompt", "completion"), *PAIRS, ("short", "row"), ("a", "b", "c")])
    found = check_file(Reading(table))

    assert (found.format, found.statistics.num_rows, found.num_problems) == ("csv", 4, 1)
    assert check_file(Reading(fill(tmp_path / "rows"))).statistics.num_rows == 4
