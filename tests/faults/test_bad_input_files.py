"""Files that cannot be read, through the real command line: empty, endless, cut off, of another encoding."""

from __future__ import annotations

import gzip
import os
import resource
from collections.abc import Callable

import pyarrow as pa
import pytest

from tests.fixtures.bad_input import Desk, check_refusal, watch

pytestmark = pytest.mark.fault
GIGABYTE = 1 << 30
LATIN = '{"prompt": "caf\u00e9"}\n'.encode("latin-1")


def cut(pack: Callable[[bytes], bytes]) -> bytes:
    whole = pack(os.urandom(100_000).hex().encode())
    return whole[: len(whole) // 2]


def pack_zstd(data: bytes) -> bytes:
    packed: bytes = pa.Codec("zstd").compress(data, asbytes=True)
    return packed


FILES: dict[str, tuple[str, Callable[[bytes], bytes], str, tuple[str, ...]]] = {
    "an empty file": ("bad.jsonl", lambda _: b"", "E-DAT-002", ("no rows", "0 bytes")),
    "blank lines": ("bad.jsonl", lambda _: b"\n \n\n", "E-DAT-002", ("no rows",)),
    "a truncated gzip": ("bad.jsonl.gz", lambda _: cut(gzip.compress), "E-DAT-005", ("cut off", "gzip -t")),
    "a truncated zstd": ("bad.jsonl.zst", lambda _: cut(pack_zstd), "E-DAT-005", ("cut off", "zstd -t")),
    "latin-1": ("bad.jsonl", lambda good: good + LATIN, "E-DAT-006", ("0xe9", "line 41, byte", "iconv")),
    "utf-16": ("bad.jsonl", lambda good: good.decode().encode("utf-16"), "E-DAT-006", ("iconv -f UTF-16",)),
    "a list a line": ("bad.jsonl", lambda good: good + b"[1, 2]\n", "E-DAT-003", ("line 41",)),
    "a tower of lists": ("bad.jsonl", lambda good: good + b'{"a": ' + b"[" * 100_000, "E-DAT-003", ("line 41",)),
    "a table cut off": ("bad.parquet", lambda _: b"PAR1", "E-DAT-033", ("as Parquet", "bad.parquet")),
}


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_cannot_be_read_is_one_clear_error_and_stores_nothing(desk: Desk, case: str) -> None:
    name, make, code, parts = FILES[case]
    desk.write(name, make((desk.folder / "rows.jsonl").read_bytes()))
    recipe = desk.write_recipe(("rows.jsonl", name))
    check_refusal(desk, ["run", recipe, "--until", "train"], codes=[code], parts=[*parts, name.partition(".")[0]])


def test_a_file_that_is_not_there_is_refused_for_sources_and_for_questions(desk: Desk) -> None:
    recipe = desk.write_recipe(("rows.jsonl", "nowhere.jsonl"))
    for words in (["run", recipe, "--until", "data"], ["generate", "./base", "--data", "nowhere.jsonl"]):
        check_refusal(desk, words, codes=["E-DAT-001"], parts=["nowhere.jsonl"])


@pytest.mark.parametrize(
    "words",
    [
        ["run", "bad.yaml", "--until", "data"],
        ["data", "check", "big.jsonl"],
        ["data", "show", "big.jsonl"],
        ["generate", "./base", "--data", "big.jsonl"],
    ],
)
def test_a_gigabyte_without_a_line_end_is_refused_in_little_memory(desk: Desk, words: list[str]) -> None:
    with (desk.folder / "big.jsonl").open("wb") as stream:  # sparse: it takes no disk
        stream.truncate(GIGABYTE)
    desk.write_recipe(("rows.jsonl", "big.jsonl"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    check_refusal(desk, words, codes=["E-DAT-004"], parts=["16777216", "big.jsonl line 1", "JSON"])
    grown_bytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown_bytes < GIGABYTE // 4, "the line was taken into memory"


@pytest.mark.parametrize("case", ["an empty file", "a truncated gzip", "latin-1"])
def test_errors_of_data_end_their_process_before_torch_is_imported(desk: Desk, case: str) -> None:
    name, make, code, _ = FILES[case]
    desk.write(name, make((desk.folder / "rows.jsonl").read_bytes()))
    recipe = desk.write_recipe(("rows.jsonl", name))
    ended = watch(desk, "run", recipe, "--until", "train", exit_code=2, code=code)
    assert ended.heavy == []
