"""Files of traffic: what is read, what is said aloud, and every refusal with file and line."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from luthier.foundation.core.errors import DataError
from luthier.stages.monitor.traffic import read_traffic

GOOD = '{"time": "2026-03-02T10:00:00Z", "text": "hello", "logprob": -0.5}'


def write(folder: Path, *lines: str) -> Path:
    path = folder / "traffic.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_rows_come_in_order_of_time_in_utc_with_the_columns_that_are_watched(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        '{"time": "2026-03-02T12:00:00+02:00", "text": "second", "confidence": 1, "label": "x"}',
        "",
        '{"time": "2026-03-02T09:00:00Z", "text": null, "prompt_tokens": 7, "logprob": null}',
    )
    read = read_traffic(path)

    assert [row.time for row in read.rows] == [datetime(2026, 3, 2, 9 + n, tzinfo=UTC) for n in (0, 1)]
    assert [row.text for row in read.rows] == [None, "second"]
    assert [row.numbers for row in read.rows] == [{"prompt_tokens": 7.0}, {"confidence": 1.0}]
    assert read.notes == (f"1 rows stood out of order and were sorted by time; the first is {path} line 3",)


def test_a_folder_is_read_whole_and_gzip_is_unpacked(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(GOOD.encode()))
    (tmp_path / "notes.txt").write_text("no rows")

    assert len(read_traffic(tmp_path).rows) == 2


def test_times_without_an_offset_are_utc_and_that_is_said(tmp_path: Path) -> None:
    read = read_traffic(write(tmp_path, '{"time": "2026-03-02T10:00:00"}'))

    assert read.rows[0].time == datetime(2026, 3, 2, 10, tzinfo=UTC)
    assert read.notes == ("times without an offset are taken as UTC",)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("{", "E-MON-001"),
        ("[1]", "E-MON-001"),
        ("[" * 100_000, "E-MON-001"),
        ('{"time": "2026-03-02T10:00:00Z", "text": 5}', "E-MON-001"),
        ('{"text": "no time"}', "E-MON-002"),
        ('{"time": "yesterday"}', "E-MON-002"),
        ('{"time": 1772000000}', "E-MON-002"),
        ('{"time": "0001-01-01T00:00:00+14:00"}', "E-MON-002"),
        ('{"time": "9999-12-31T23:59:59-14:00"}', "E-MON-002"),
        ('{"time": "2026-03-02T10:00:00"}', "E-MON-003"),
        ('{"time": "2026-03-02T10:00:00Z", "logprob": NaN}', "E-MON-004"),
        ('{"time": "2026-03-02T10:00:00Z", "confidence": "high"}', "E-MON-004"),
        ('{"time": "2026-03-02T10:00:00Z", "prompt_tokens": true}', "E-MON-004"),
        ('{"time": "2026-03-02T10:00:00Z", "length": 1' + "0" * 400 + "}", "E-MON-004"),
        ('{"time": "1970-01-01T00:00:00Z"}', "E-MON-006"),
    ],
)
def test_a_bad_line_is_refused_with_its_place(tmp_path: Path, line: str, code: str) -> None:
    path = write(tmp_path, GOOD, line)

    with pytest.raises(DataError) as caught:
        read_traffic(path)
    problem = caught.value.problems[0]
    assert (problem.code, caught.value.exit_code) == (code, 2)
    assert f"{path} line 2" in problem.origin + problem.got
    assert problem.allowed
    assert problem.fix


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    for path in (write(tmp_path, ""), tmp_path / "empty"):
        path.mkdir() if path.name == "empty" else None
        with pytest.raises(DataError) as caught:
            read_traffic(path)
        assert caught.value.code == "E-MON-005"
        assert json.loads(caught.value.problems[0].allowed.partition("such as ")[2])["text"]


@pytest.mark.parametrize(
    ("name", "data"), [("a.jsonl", b"\xff\xfe"), ("a.jsonl.gz", b"no gzip"), ("b.gz", gzip.compress(b"x" * 99)[:-9])]
)
def test_bytes_that_are_no_text_are_refused(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)

    with pytest.raises(DataError) as caught:
        read_traffic(tmp_path / name)
    assert caught.value.code == "E-MON-001"
