"""Freed memory is handed back where it has grown, and the mark moves only where steps really need more."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from luthier.instruments.engine import allocation
from luthier.instruments.engine.allocation import FreedMemory, hand_back_freed_memory


class FakeLibrary:
    """Counts trims."""

    def __init__(self) -> None:
        self.trims = 0

    def malloc_trim(self, pad: int) -> int:
        """Count."""
        self.trims += 1
        return 1


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> FakeLibrary:
    """A C library that counts."""
    fake = FakeLibrary()
    monkeypatch.setattr(allocation, "_find_libc", lambda: fake)
    return fake


def settle_all(monkeypatch: pytest.MonkeyPatch, residents: list[int]) -> FreedMemory:
    values: Iterator[int] = iter(residents)
    monkeypatch.setattr(allocation, "read_resident_bytes", lambda: next(values))
    memory = FreedMemory()
    for _ in residents:
        memory.settle()
    return memory


def test_steady_memory_is_left_alone(library: FakeLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settle_all(monkeypatch, [100, 110, 119, 100]).mark_bytes == 100
    assert library.trims == 0


def test_growth_is_handed_back_once(library: FakeLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settle_all(monkeypatch, [100, 130, 100]).mark_bytes == 100
    assert library.trims == 1


def test_steps_that_need_more_move_the_mark(library: FakeLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    """130 is handed back; the next step needs 130 again, so that is what steps take: no further trim below 156."""
    assert settle_all(monkeypatch, [100, 130, 130, 140, 155]).mark_bytes == 130
    assert library.trims == 1


def test_without_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocation, "_find_libc", lambda: None)
    assert settle_all(monkeypatch, [100, 200]).mark_bytes == 200


class Selfish:
    """Refers to itself, as a module with a forward pass of ours does."""

    def __init__(self) -> None:
        self.forward = self


@pytest.mark.parametrize(("resident", "is_gone"), [(2**30, True), (2**30 - 1, False)])
def test_what_refers_to_itself_is_let_go_where_much_is_resident(
    library: FakeLibrary, monkeypatch: pytest.MonkeyPatch, resident: int, is_gone: bool
) -> None:
    monkeypatch.setattr(allocation, "read_resident_bytes", lambda: resident)
    gc.disable()
    try:
        watched = weakref.ref(Selfish())
        hand_back_freed_memory()
        assert ((watched() is None), library.trims) == (is_gone, int(is_gone))
    finally:
        gc.enable()
