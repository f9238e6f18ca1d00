"""Appending: a line is there whole or not at all."""

from __future__ import annotations

import errno
import multiprocessing
import threading
from pathlib import Path

import pytest

from luthier.foundation.core.append import append_line
from luthier.foundation.core.errors import StoreError
from luthier.foundation.core.files import FileSystem
from tests.fixtures.faulty_disk import FaultyFileSystem


def test_a_full_disk_leaves_the_log_as_it_was_and_the_next_line_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "log"
    append_line(log, b"first")
    with pytest.raises(StoreError) as caught:
        append_line(log, b"second, of which half is written", fs=FaultyFileSystem(fail_at=1))
    assert caught.value.code == "E-ENV-003"
    assert log.read_bytes() == b"first\n"

    assert append_line(log, b"third") == len(b"first\n")
    assert log.read_bytes() == b"first\nthird\n"


@pytest.mark.parametrize("torn", [b"ha", b"x" * 200_000])
@pytest.mark.parametrize("before", [b"", b"first\n"])
def test_a_half_line_that_a_loss_of_power_left_is_cut_off(tmp_path: Path, before: bytes, torn: bytes) -> None:
    log = tmp_path / "log"
    log.write_bytes(before + torn)
    append_line(log, b"next")

    assert log.read_bytes() == before + b"next\n"


class SlowlyFailing(FileSystem):
    """Writes half a line, says so, and fails when told."""

    def __init__(self) -> None:
        self.has_begun = threading.Event()
        self.shall_fail = threading.Event()

    def append(self, path: Path, data: bytes) -> None:
        super().append(path, data[: len(data) // 2])
        self.has_begun.set()
        self.shall_fail.wait()
        raise OSError(errno.ENOSPC, "no space", str(path))


class Telling(FileSystem):
    """Says when it writes."""

    def __init__(self) -> None:
        self.has_begun = threading.Event()

    def append(self, path: Path, data: bytes) -> None:
        super().append(path, data)
        self.has_begun.set()


def test_a_rival_waits_until_a_failed_line_is_cut_off_and_loses_nothing(tmp_path: Path) -> None:
    log, failing, telling = tmp_path / "log", SlowlyFailing(), Telling()

    def fail() -> None:
        with pytest.raises(StoreError):
            append_line(log, b"a line that fails", fs=failing)

    first = threading.Thread(target=fail)
    second = threading.Thread(target=append_line, args=(log, b"rival"), kwargs={"fs": telling})
    first.start()
    failing.has_begun.wait()
    second.start()
    has_waited = not telling.has_begun.wait(0.2)
    failing.shall_fail.set()
    first.join()
    second.join()
    assert has_waited, "what it wrote before would have been cut off with the half line"
    assert log.read_bytes() == b"rival\n"


def _append_many(path: Path, letter: str) -> None:
    for _ in range(200):
        append_line(path, letter.encode() * 5_000)


def test_processes_that_append_together_never_mix_their_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_append_many, args=(log, letter)) for letter in "abc"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    lines = log.read_bytes().splitlines()
    assert len(lines) == 600
    assert {(len(line), len(set(line))) for line in lines} == {(5_000, 1)}
