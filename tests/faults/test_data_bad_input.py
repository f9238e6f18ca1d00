"""Bad files and rows: each a clear error with code, place and fix; nothing half read."""

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from luthier.foundation.core.errors import DataError, LuthierError
from luthier.foundation.schema.sections import DataSection, PluginChoice, Source, Split
from luthier.stages.data import stage
from luthier.stages.data.readers import streams
from tests.fixtures.data_rows import DataContext, make_record, write_jsonl, write_packed

GOOD = json.dumps(make_record("a good row")).encode() + b"\n"


def _truncated_gzip(path: Path) -> None:
    packed = gzip.compress(
        b"".join(json.dumps(make_record(f"{n}", os.urandom(8).hex())).encode() + b"\n" for n in range(999))
    )
    path.write_bytes(packed[: len(packed) // 2])


def _broken_gzip(path: Path) -> None:
    packed = bytearray(gzip.compress(GOOD * 1000))
    packed[len(packed) // 2] ^= 0xFF
    path.write_bytes(bytes(packed))


def _truncated_zstd(path: Path) -> None:
    whole = write_packed(path.with_suffix(".zst"), os.urandom(200_000).hex().encode()).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def _write(data: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(data) and None


def _lines(*records: Any) -> Callable[[Path], None]:
    return lambda path: write_jsonl(path, records) and None


CASES: dict[str, tuple[Callable[[Path], object], str, tuple[str, ...]]] = {
    "an empty file": (_write(b""), "E-DAT-002", ("no rows", "0 bytes")),
    "a file of blank lines": (_write(b"\n \n\n"), "E-DAT-002", ("no rows",)),
    "a file that is not there": (lambda _: None, "E-DAT-001", ("no such file", "rows.jsonl")),
    "a folder without files": (lambda path: path.mkdir(), "E-DAT-034", ("no file of rows", "rows.jsonl")),
    "a pipe": (lambda path: os.mkfifo(path), "E-DAT-001", ("must be a file or a folder",)),
    "a truncated gzip": (_truncated_gzip, "E-DAT-005", ("cut off or damaged",)),
    "a gzip with a flipped byte": (_broken_gzip, "E-DAT-005", ("cut off or damaged",)),
    "a truncated zstd": (_truncated_zstd, "E-DAT-005", ("cut off or damaged",)),
    "latin-1 text": (
        _write(GOOD + '{"messages": [{"role": "user", "content": "café"}]}\n'.encode("latin-1")),
        "E-DAT-006",
        ("not UTF-8", "line 2, byte 46", "0xe9", "iconv"),
    ),
    "UTF-16": (_write(GOOD.decode().encode("utf-16")), "E-DAT-006", ("UTF-16", "iconv -f UTF-16")),
    "a line that is no JSON": (_write(GOOD + b'{"messages": [}\n'), "E-DAT-003", ("line 2", "character")),
    "a line that is a list": (_write(GOOD + b"[1, 2]\n"), "E-DAT-003", ("must be a JSON object", "line 2")),
    "a nesting bomb": (_write(GOOD + b'{"a": ' + b"[" * 100_000 + b"\n"), "E-DAT-003", ("line 2",)),
    "a deep row": (_write(GOOD + b'{"a": ' + b"[" * 80 + b"]" * 80 + b"}\n"), "E-DAT-008", ("64 levels", "line 2")),
    "a huge integer": (_lines(make_record("a"), make_record("b", n=2**60)), "E-DAT-008", ("at n", "2**53", "line 2")),
    "a number without end": (_write(GOOD + b'{"a": ' + b"9" * 5000 + b"}\n"), "E-DAT-003", ("line 2",)),
    "not a number": (_write(GOOD + b'{"a": [NaN]}\n'), "E-DAT-008", ("a[0]", "finite")),
    "half a surrogate pair": (_write(GOOD + rb'{"a": "\ud83d"}' + b"\n"), "E-DAT-008", ("surrogate",)),
    "mixed forms": (
        _lines(make_record("a"), {"instruction": "b", "output": "c"}),
        "E-DAT-007",
        ("different forms", "line 2", "rows.jsonl line 1 is messages"),
    ),
    "a form that nobody knows": (_lines({"foo": "bar"}), "E-TXT-012", ("foo", "line 1")),
    "a role that nobody knows": (
        _lines({"messages": [{"role": "wizard", "content": "a"}, {"role": "assistant", "content": "b"}]}),
        "E-TXT-013",
        ("wizard", "line 1"),
    ),
    "a conversation that ends in a user turn": (
        _lines(make_record("a"), {"messages": [{"role": "user", "content": "and now?"}]}),
        "E-DAT-015",
        ("nobody answers", "line 2", "unanswered: trim"),
    ),
    "four bytes of a parquet file": (_write(b"PAR1"), "E-DAT-033", ("as Parquet", "rows.parquet")),
}


@pytest.mark.parametrize("case", CASES)
def test_a_bad_file_is_one_clear_error(tmp_path: Path, case: str) -> None:
    write, code, parts = CASES[case]
    path = tmp_path / ("rows.parquet" if "parquet" in case else "rows.jsonl")
    write(path)
    section = DataSection(sources=(Source(path=path.name),), split=Split(validation=0, test=0))
    with pytest.raises(LuthierError) as caught:
        stage.run(section, {}, DataContext(tmp_path))
    assert caught.value.code == code
    assert caught.value.exit_code == 2
    assert all(problem.fix for problem in caught.value.problems)
    for part in parts:
        assert part in str(caught.value)
    assert not (tmp_path / "blobs").exists()


def test_a_gigabyte_without_a_line_end_is_refused_after_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with path.open("wb") as stream:  # a sparse file: a gigabyte of zeros that takes no disk
        stream.truncate(1 << 30)
    with streams.open_rows(path) as stream, pytest.raises(DataError) as caught:
        list(streams.iterate_lines(stream, path))
    assert caught.value.code == "E-DAT-004"
    assert "16777216" in str(caught.value)
    assert f"{path} line 1" in str(caught.value)


def test_a_json_document_above_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MAX_DOCUMENT_BYTES", 100)
    path = write_packed(tmp_path / "rows.json", b"[" + b" " * 200 + b"]")
    section = DataSection(sources=(Source(path=str(path)),))
    with pytest.raises(DataError, match="one JSON object on each line") as caught:
        stage.run(section, {}, DataContext(tmp_path))
    assert caught.value.code == "E-DAT-004"


def _run(folder: Path, records: list[Any], **changes: Any) -> None:
    write_jsonl(folder / "rows.jsonl", records)
    values: dict[str, Any] = {"sources": (Source(path="rows.jsonl"),)} | changes
    stage.run(DataSection(**values), {}, DataContext(folder))


MANY = [make_record(f"question {number}") for number in range(20)]

REFUSED: dict[str, tuple[dict[str, Any], list[Any], str, tuple[str, ...]]] = {
    "no source": ({"sources": ()}, MANY, "E-DAT-010", ("names no source", "data: {sources:")),
    "an empty validation set": ({}, MANY[:2], "E-DAT-012", ("set is empty", "2 rows in 2 groups", "to 0")),
    "all rows in one group": (
        {"split": Split(by="customer")},
        [make_record(f"q{number}", customer="one") for number in range(20)],
        "E-DAT-012",
        ("20 rows in 1 groups", "split by customer"),
    ),
    "a column that is missing": (
        {"split": Split(by="customer")},
        [make_record("a", customer=1, region="x"), make_record("b", region="y")],
        "E-DAT-013",
        ("1 of 2 rows", "'customer'", "line 2", "customer, region"),
    ),
    "an evaluation set named test": (
        {"evaluation": {"test": "rows.jsonl"}},
        MANY,
        "E-DAT-014",
        ("data.split.test: 0",),
    ),
    "an evaluation set named train": ({"evaluation": {"train": "rows.jsonl"}}, MANY, "E-DAT-014", ("rename",)),
    "a variable that is not set": (
        {"sources": (Source(path="${LUTHIER_NOWHERE}/rows.jsonl"),)},
        MANY,
        "E-ENV-002",
        ("LUTHIER_NOWHERE is not set",),
    ),
    "every row dropped": (
        {"evaluation": {"dev": "rows.jsonl"}},
        MANY,
        "E-DAT-011",
        ("dropped every row", "decontaminate 20 -> 0"),
    ),
    "an option that is no option": (
        {"operators": (PluginChoice(type="dedupe", options={"match": "fuzzy"}),)},
        MANY,
        "E-DAT-017",
        ("dedupe", "match = 'fuzzy'"),
    ),
    "a kind of personal data that nobody knows": (
        {"operators": (PluginChoice(type="pii", options={"kinds": ["shoe_size"]}),)},
        MANY,
        "E-DAT-017",
        ("shoe_size", "email"),
    ),
    "an operator that nobody knows": ({"operators": (PluginChoice(type="dedup"),)}, MANY, "E-REC-011", ("dedupe",)),
    "a weight": ({"sources": (Source(path="rows.jsonl", weight=2.0),)}, MANY, "E-REC-010", ("weight",)),
    "a selector that nobody knows": (
        {"select": PluginChoice(type="deft")},
        MANY,
        "E-REC-011",
        ("deft_ucs", "luthier list selectors"),
    ),
    "a fraction of nothing": (
        {"select": PluginChoice(type="random", options={"fraction": 0})},
        MANY,
        "E-DAT-017",
        ("fraction = 0", "select: {type: random}"),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_section_that_cannot_be_is_one_clear_error(tmp_path: Path, case: str) -> None:
    changes, records, code, parts = REFUSED[case]
    with pytest.raises(LuthierError) as caught:
        _run(tmp_path, records, **changes)
    assert caught.value.code == code
    assert caught.value.exit_code == (4 if code.startswith("E-ENV") else 2)
    assert all(problem.fix for problem in caught.value.problems)
    for part in parts:
        assert part in str(caught.value)


def test_the_problems_of_several_files_are_shown_at_once(tmp_path: Path) -> None:
    write_packed(tmp_path / "one.jsonl", GOOD + b"{\n")
    write_packed(tmp_path / "two.jsonl", b"")
    sources = (Source(path="one.jsonl"), Source(path="two.jsonl"))
    with pytest.raises(DataError) as caught:
        stage.run(DataSection(sources=sources, evaluation={"dev": "three.jsonl"}), {}, DataContext(tmp_path))
    assert [problem.code for problem in caught.value.problems] == ["E-DAT-003", "E-DAT-002", "E-DAT-001"]
