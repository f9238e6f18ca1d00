"""Bad tables and folders: each one clear error with code, place and fix."""

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from luthier.foundation.core.errors import DataError
from luthier.foundation.schema.sections import DataSection, Source
from luthier.stages.data import stage
from luthier.stages.data.readers import csv_file, streams
from luthier.stages.data.readers.source import Reading, read_rows
from tests.fixtures.data_rows import DataContext, make_record, write_jsonl, write_packed

HEAD = b"prompt,completion\n"
Write = Callable[[Path], object]


def _bytes(name: str, data: bytes) -> Write:
    return lambda folder: write_packed(folder / name, data)


def _parquet(folder: Path, **columns: list[object]) -> Path:
    path = folder / "rows.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def _cut_parquet(folder: Path) -> None:
    path = _parquet(folder, prompt=[f"q{n}" for n in range(999)], completion=["a"] * 999)
    path.write_bytes(path.read_bytes()[:-100])


def _damaged_parquet(folder: Path) -> None:
    path = folder / "rows.parquet"
    table = pa.table({"text": [os.urandom(40).hex() for _ in range(3000)]})
    pq.write_table(table, path, write_page_checksum=True, use_dictionary=False)
    data = bytearray(path.read_bytes())
    data[len(data) // 4 : len(data) // 4 + 2000] = os.urandom(2000)
    path.write_bytes(bytes(data))


def _packed_parquet(folder: Path) -> None:
    path = _parquet(folder, prompt=["a"], completion=["b"])
    write_packed(folder / "rows.parquet.gz", path.read_bytes())
    path.unlink()


def _mixed_folder(folder: Path) -> None:
    write_jsonl(folder / "a.jsonl", [make_record("a")])
    write_packed(folder / "b.csv", HEAD + b"a,b\n")


def _empty_part(folder: Path) -> None:
    write_jsonl(folder / "a.jsonl", [make_record("a")])
    (folder / "b.csv").write_bytes(b"")


def _link_out(folder: Path) -> None:
    write_jsonl(folder / "a.jsonl", [make_record("a")])
    (folder / "secrets.jsonl").symlink_to("/etc/hostname")


def _linked_folder_out(folder: Path) -> None:
    write_jsonl(folder / "a.jsonl", [make_record("a")])
    (folder / "more").symlink_to("/etc")


CASES: dict[str, tuple[str, Write, str, tuple[str, ...]]] = {
    "an empty CSV": ("rows.csv", _bytes("rows.csv", b""), "E-DAT-002", ("no rows", "0 bytes")),
    "a CSV of a header alone": ("rows.csv", _bytes("rows.csv", HEAD), "E-DAT-002", ("no rows", "18 bytes")),
    "a record with a field more": (
        "rows.csv",
        _bytes("rows.csv", HEAD + b"a,b\nhello, you,b\n"),
        "E-DAT-031",
        ("3 fields, the header 2", "line 3", "hello, you,b", "holds a comma"),
    ),
    "a record with a field less": (
        "rows.csv",
        _bytes("rows.csv", b"prompt;completion;x\na;b;c\na;b\n"),
        "E-DAT-031",
        ("2 fields, the header 3", "line 3", "prompt, completion, x"),
    ),
    "a quote that is never closed": (
        "rows.csv",
        _bytes("rows.csv", HEAD + b'a,b\n"c,d\ne,f\n'),
        "E-DAT-031",
        ("line 3", "unexpected end of data", "what follows was not read"),
    ),
    "a quote inside a field": (
        "rows.csv",
        _bytes("rows.csv", HEAD + b'"a "quoted" word",b\nc,d\n'),
        "E-DAT-031",
        ("line 2", 'a quote inside them doubled ("")'),
    ),
    "a column named twice": (
        "rows.csv",
        _bytes("rows.csv", b"prompt,completion, prompt\na,b,c\n"),
        "E-DAT-032",
        ("'prompt' more than once", "line 1", "first line"),
    ),
    "Windows-1252": (
        "rows.csv",
        _bytes("rows.csv", HEAD + b"a,b\ncaf\xe9,b\n"),
        "E-DAT-006",
        ("line 3, byte 3", "0xe9", "iconv -f WINDOWS-1252"),
    ),
    "UTF-16, as spreadsheets write it": (
        "rows.csv",
        _bytes("rows.csv", "prompt\tcompletion\na\tb\n".encode("utf-16")),
        "E-DAT-006",
        ("UTF-16", "iconv -f UTF-16"),
    ),
    "columns of no form": (
        "rows.csv",
        _bytes("rows.csv", b"question,answer\n" + b"a,b\n" * 50),
        "E-TXT-012",
        ("columns question, answer", "columns: {prompt: question, completion: answer}"),
    ),
    "a CSV cut off in its packing": (
        "rows.csv.gz",
        lambda folder: (folder / "rows.csv.gz").write_bytes(
            write_packed(folder / "x.gz", os.urandom(9000).hex().encode()).read_bytes()[:999]
        ),
        "E-DAT-005",
        ("cut off or damaged",),
    ),
    "messages in Python's quotes": (
        "rows.csv",
        _bytes("rows.csv", b"messages\n\"[{'role': 'user', 'content': 'a'}]\"\n"),
        "E-DAT-003",
        ("line 2, column messages", "json.dumps"),
    ),
    "a Parquet file without its end": ("rows.parquet", _cut_parquet, "E-DAT-033", ("rows.parquet", "whole")),
    "a Parquet file with a damaged page": ("rows.parquet", _damaged_parquet, "E-DAT-033", ("rows.parquet",)),
    "Parquet packed once more": ("rows.parquet.gz", _packed_parquet, "E-DAT-033", ("unpack it first",)),
    "a text that is called Parquet": (
        "rows.parquet",
        _bytes("rows.parquet", b"prompt,completion\na,b\n"),
        "E-DAT-033",
        ("rows.parquet",),
    ),
    "a Parquet file without rows": (
        "rows.parquet",
        lambda folder: _parquet(folder, prompt=[], completion=[]),
        "E-DAT-002",
        ("no rows",),
    ),
    "bytes in Parquet": (
        "rows.parquet",
        lambda folder: _parquet(folder, text=["a", "b"], image=[None, b"\x89PNG"]),
        "E-DAT-008",
        ("at image", "4 bytes are no text", "line 2"),
    ),
    "a huge integer in Parquet": (
        "rows.parquet",
        lambda folder: _parquet(folder, text=["a"], n=[2**60]),
        "E-DAT-008",
        ("at n", "2**53", "line 1"),
    ),
    "a folder with nothing": (".", lambda _: None, "E-DAT-034", ("holds no file of rows", "no files")),
    "a folder with nothing that is read": (
        ".",
        _bytes("notes.docx", b"PK"),
        "E-DAT-034",
        ("notes.docx", ".csv", ".parquet"),
    ),
    "a folder of mixed forms": (".", _mixed_folder, "E-DAT-007", ("different forms", "b.csv line 2", "a.jsonl line 1")),
    "a folder with an empty file": (".", _empty_part, "E-DAT-002", ("no rows", "b.csv")),
    "a link that leads out": (".", _link_out, "E-DAT-034", ("leads out", "/etc/hostname")),
    "a linked folder that leads out": (".", _linked_folder_out, "E-DAT-034", ("leads out", "/etc")),
}


@pytest.mark.parametrize("case", CASES)
def test_a_bad_table_or_folder_is_one_clear_error_and_nothing_is_stored(tmp_path: Path, case: str) -> None:
    name, write, code, parts = CASES[case]
    folder = tmp_path / "source"
    folder.mkdir()
    write(folder)
    context = DataContext(tmp_path)
    with pytest.raises(DataError) as caught:
        stage.run(DataSection(sources=(Source(path=f"source/{name}"),)), {}, context)

    assert (caught.value.code, caught.value.exit_code) == (code, 2)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].fix
    for part in parts:
        assert part in str(caught.value)
    assert not (tmp_path / "blobs").exists()


def test_a_file_under_the_name_of_a_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_rows(Reading(write_jsonl(tmp_path / "a.jsonl", [make_record("a")]), format="folder"))

    assert (caught.value.code, caught.value.problems[0].fix) == ("E-DAT-034", "format: auto")


def test_a_column_that_is_not_there_is_told_once_with_the_nearest(tmp_path: Path) -> None:
    path = write_packed(tmp_path / "rows.csv", b"question,answer\n" + b"a,b\n" * 50)
    with pytest.raises(DataError) as caught:
        read_rows(Reading(path, columns={"prompt": "qestion", "completion": "answer"}))

    (problem,) = caught.value.problems
    assert (problem.code, problem.fix) == ("E-TXT-013", "columns: {prompt: question}")
    assert "nearest is question" in problem.what


def test_good_records_after_a_ragged_one_are_read(tmp_path: Path) -> None:
    path = write_packed(tmp_path / "rows.csv", HEAD + b"a,b\nx\n" * 30)
    read = read_rows(Reading(path))

    assert (read.num_rows, read.num_problems, len(read.problems)) == (30, 30, 20)


def test_a_line_of_a_table_is_never_read_whole_beyond_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MAX_LINE_BYTES", 1000)
    path = write_packed(tmp_path / "rows.csv.gz", HEAD + b"a" * 5_000_000)
    with pytest.raises(DataError, match="E-DAT-004"):
        read_rows(Reading(path))


def test_a_quote_that_swallows_the_file_is_stopped_at_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_file, "MAX_LINE_BYTES", 1000)
    path = write_packed(tmp_path / "rows.csv", HEAD + b'"open,\n' + b"a,b\n" * 5000)
    read = read_rows(Reading(path))

    assert (read.num_rows, read.num_problems) == (0, 1)
    assert "field larger than field limit" in read.problems[0].what
    assert read.problems[0].origin == f"{path} line 2"
