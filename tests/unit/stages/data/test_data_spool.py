"""Rows in a temporary file come back as they were, in any order, and take no memory while they wait."""

import errno
import tempfile
import weakref
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.foundation.core.errors import StoreError
from luthier.foundation.schema.rows import FunctionCall, Message, Origin, Part, Row, ToolCall
from luthier.foundation.schema.sections import Split
from luthier.stages.data import spool
from luthier.stages.data.ledger import Entry, Ledger
from luthier.stages.data.pipeline import apply_operators, resolve_operators
from luthier.stages.data.split import split_rows
from luthier.stages.data.spool import Rows
from tests.fixtures.data_rows import make_row, say

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
CALLS = st.builds(
    ToolCall, id=st.text(max_size=4), function=st.builds(FunctionCall, name=st.text(), arguments=st.text())
)
MESSAGES = st.builds(
    Message,
    role=st.sampled_from(["system", "user", "assistant", "tool"]),
    content=st.text() | st.just((Part(type="text", text="\n"), Part(type="image", blob="a" * 64))),
    tool_calls=st.lists(CALLS, max_size=2).map(tuple),
    is_trained=st.none() | st.booleans(),
)
ROWS = st.builds(
    Row,
    id=st.text(),
    messages=st.lists(MESSAGES, max_size=3).map(tuple),
    tools=st.lists(st.dictionaries(st.text(max_size=5), JSON, max_size=3), max_size=2).map(tuple),
    label=st.none() | st.booleans(),
    text=st.text(),
    fields=st.dictionaries(st.text(max_size=5), JSON, max_size=3),
    origin=st.builds(Origin, file=st.text(), line=st.integers(0, 9)),
)


@given(rows=st.lists(ROWS, max_size=4))
def test_rows_come_back_to_the_last_bit(rows: list[Row]) -> None:
    """``repr`` too, so that 1 and 1.0, which are equal, are told apart."""
    assert [repr(row) for row in Rows(rows)] == [repr(row) for row in rows]


def test_parts_share_the_file_and_see_neither_order_nor_growth_of_each_other() -> None:
    rows = Rows(make_row(text) for text in "abcde")
    part = rows.select([3, 1])
    part.append(make_row("new"))
    part.append_from(rows, 0)
    assert say(part) == ["d", "b", "new", "a"]
    assert say(rows) == ["a", "b", "c", "d", "e"]
    assert (say(rows[1:3]), rows[-1].messages[0].text, len(part)) == (["b", "c"], "e", 4)
    assert part.has_id(0, rows[3].id)
    assert not part.has_id(0, rows[1].id)
    assert not part.has_id(4, rows[0].id)


def test_a_second_row_of_an_id_is_named_by_its_place() -> None:
    rows = Rows((make_row(text, name="same") for text in "ab"), has_unique_ids=True)
    assert [row.id for row in rows] == ["same", "same@rows.jsonl-1"]


def test_entries_of_the_ledger_come_back_with_the_row_as_it_was() -> None:
    row = make_row("a", price=1.0)
    entry = Entry(
        row="a", origin=row.origin, operator="pii", action="changed", reasons=("email",), detail={"n": 1}, before=row
    )
    ledger = Ledger()
    ledger.append(entry)
    assert list(ledger) == [entry]
    assert len(ledger) == 1


def test_few_rows_are_in_memory_at_once_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was read, one that an operator made of it, one that the ledger keeps: not 300 at any moment."""
    alive = most = 0

    def forget() -> None:
        nonlocal alive
        alive -= 1

    def watch(row: Row) -> Row:
        nonlocal alive, most
        alive += 1
        most = max(most, alive)
        weakref.finalize(row, forget)
        return row

    original = spool._parse
    monkeypatch.setattr(spool, "IN_MEMORY_BYTES", 1 << 14)
    monkeypatch.setattr(spool, "_parse", lambda text: watch(original(text)))
    rows = Rows(watch(make_row(f"q{number}" + "\u200b" * (number % 3))) for number in range(300))
    cleaned = apply_operators(rows, resolve_operators("default"), {"dev": Rows([make_row("other words")])})
    parted = split_rows(cleaned.rows, Split(), seed=0)
    assert sum(map(len, parted.values())) == 300
    assert cleaned.waterfall[0].changed == 200
    assert most <= 5


def test_a_full_disk_of_temporary_files_is_named_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    class FullDisk(tempfile.SpooledTemporaryFile):  # type: ignore[type-arg]
        def write(self, *_: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(spool.tempfile, "SpooledTemporaryFile", FullDisk)
    with pytest.raises(StoreError) as caught:
        Rows([make_row("a")])
    assert caught.value.code == "E-ENV-003"
    assert "TMPDIR" in str(caught.value)
