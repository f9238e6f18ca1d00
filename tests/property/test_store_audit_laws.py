"""The audit chain: whatever somebody does to the log is found, or is said to be impossible to find."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.foundation.core.clock import FixedClock
from luthier.foundation.core.hashing import parse_canonical_json
from luthier.foundation.store.audit_chain import GENESIS, AuditRow, verify_chain
from luthier.foundation.store.workspace import Workspace
from tests.fixtures.fake_stages import open_quick_folder

JSON = (
    st.none()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4)
    | st.lists(st.booleans(), max_size=2)
)
FACTS = st.lists(st.dictionaries(st.text(max_size=3), JSON, max_size=2), min_size=1, max_size=5)


def write_log(all_facts: list[dict[str, Any]]) -> list[AuditRow]:
    """Write a log by another hand: hashlib and the reference writer of canonical JSON, nothing of ours."""
    rows, prev = [], GENESIS
    for seq, facts in enumerate(all_facts, start=1):
        entry = {"seq": seq, "time": f"2026-11-24T12:00:{seq:02d}+00:00", "action": "act", "facts": facts, "prev": prev}
        digest = hashlib.sha256(rfc8785.dumps(entry)).hexdigest()
        rows.append(AuditRow(seq, entry["time"], "act", rfc8785.dumps(facts).decode(), prev, digest))
        prev = digest
    return rows


@given(all_facts=FACTS)
@settings(max_examples=40, deadline=None)
def test_a_log_written_by_the_reference_is_whole(all_facts):
    rows = write_log(all_facts)
    report = verify_chain(rows, heads=[(row.hash, "somebody") for row in rows])
    assert (report.findings, report.remarks) == ((), ())
    assert (report.num_entries, report.head) == (len(rows), rows[-1].hash)


@given(all_facts=FACTS, data=st.data())
@settings(max_examples=40, deadline=None)
def test_any_changed_field_of_any_entry_is_found_at_that_entry(all_facts, data):
    rows = write_log(all_facts)
    place = data.draw(st.integers(0, len(rows) - 1))
    field = data.draw(st.sampled_from(["time", "action", "facts", "prev", "hash"]))
    value = data.draw(st.sampled_from(["", "x", "{}", '{"a":1}', "0" * 64, "f" * 64, " ", "null"]))
    if getattr(rows[place], field) == value:
        return
    rows[place] = rows[place]._replace(**{field: value})
    found = verify_chain(rows).findings
    assert found
    assert found[0].seq == rows[place].seq


@given(all_facts=FACTS, data=st.data())
@settings(max_examples=40, deadline=None)
def test_an_entry_changed_and_hashed_anew_is_found_at_the_next_one(all_facts, data):
    rows = write_log([*all_facts, {"the": "last"}])
    place = data.draw(st.integers(0, len(rows) - 2))
    forged = write_log([*all_facts[:place], {"forged": True}])[-1]
    found = verify_chain([*rows[:place], forged, *rows[place + 1 :]]).findings
    assert forged == rows[place] or [finding.seq for finding in found] == [place + 2]


@given(all_facts=FACTS, data=st.data())
@settings(max_examples=40, deadline=None)
def test_any_entry_taken_out_before_the_last_is_found_even_when_the_rest_are_numbered_anew(all_facts, data):
    rows = write_log([*all_facts, {"the": "last"}])
    place = data.draw(st.integers(0, len(rows) - 2))
    left = rows[:place] + rows[place + 1 :]
    found = verify_chain(left).findings
    assert found[0].seq == place + 1
    assert f"entry {place + 1} is missing" in found[0].what
    renumbered = [row._replace(seq=seq) for seq, row in enumerate(left, start=1)]
    assert verify_chain(renumbered).findings[0].seq == place + 1


@given(all_facts=FACTS.filter(lambda facts: len(facts) >= 2), data=st.data())
@settings(max_examples=40, deadline=None)
def test_two_entries_swapped_are_found(all_facts, data):
    rows = write_log([{"n": number, **facts} for number, facts in enumerate(all_facts)])
    first, second = sorted(data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=2, max_size=2, unique=True)))
    swapped = rows.copy()
    swapped[first] = rows[second]._replace(seq=rows[first].seq)
    swapped[second] = rows[first]._replace(seq=rows[second].seq)
    assert verify_chain(swapped).findings[0].seq == first + 1


@given(all_facts=FACTS, kept=st.integers(0, 4))
@settings(max_examples=40, deadline=None)
def test_a_cut_tail_is_found_by_a_head_that_was_noted_and_by_nothing_else(all_facts, kept):
    rows = write_log(all_facts)
    cut = rows[: min(kept, len(rows) - 1)]
    assert verify_chain(cut).findings == (), "a shorter log is a whole log"
    for noted in (rows[-1].hash, rows[-1].hash[:12]):
        (finding,) = verify_chain(cut, heads=[(noted, "a release")]).findings
        assert "cut or rewritten" in finding.what
        assert "a release" in finding.what


@given(all_facts=FACTS, place=st.integers(0, 4))
@settings(max_examples=40, deadline=None)
def test_a_log_rewritten_from_some_entry_on_is_found_by_a_head_that_was_noted_and_by_nothing_else(all_facts, place):
    rows = write_log(all_facts)
    place = min(place, len(rows) - 1)
    rewritten = write_log([*all_facts[:place], {"forged": True, **all_facts[place], "n": 1}, *all_facts[place + 1 :]])
    assert verify_chain(rewritten).findings == ()
    assert verify_chain(rewritten, heads=[(rows[-1].hash, "a release")]).findings


@pytest.mark.parametrize("facts", ["{", "", "nul", '{"a": 1}', '{"a":1.0}', '{"b":1,"a":1}', "[" * 5000])
def test_facts_that_are_no_canonical_json_are_found_and_nothing_falls_over(facts: str):
    rows = write_log([{"a": 1}, {}])
    rows[0] = rows[0]._replace(facts=facts)
    assert verify_chain(rows).findings[0].seq == 1


def test_a_clock_that_goes_back_is_a_remark_and_no_finding(tmp_path: Path):
    clock = FixedClock(datetime(2026, 11, 24, tzinfo=UTC))
    audit = Workspace.open(tmp_path, clock=clock).audit
    audit.append("one", {})
    clock.advance(-60)
    audit.append("two", {})
    clock.advance(30)
    audit.append("three", {})
    report = verify_chain(audit.rows())
    assert report.findings == ()
    assert [remark.what for remark in report.remarks] == ["the clock went back at entry 2"]
    odd = [
        row._replace(time=time) for row, time in zip(audit.rows(), ("noon", "2026-01-01", "2026-01-02"), strict=True)
    ]
    assert len(verify_chain(odd).remarks) >= 1


def test_what_the_log_writes_the_reference_would_have_written():
    """Floats whose shortest form has no point, keys sorted by UTF-16 units, characters outside the basic plane."""
    with open_quick_folder() as folder:
        audit = Workspace.open(folder, clock=FixedClock(datetime(2026, 11, 24, tzinfo=UTC))).audit
        for facts in ({"a": 1e21, "b": [2.0**53, -0.0, 1e-7]}, {"\U0001f600": 1, "\ufb33": 2, "z": None}, {}):
            audit.append("act", facts)
        for row in audit.rows():
            facts = parse_canonical_json(row.facts)
            entry = {"seq": row.seq, "time": row.time, "action": "act", "facts": facts, "prev": row.prev}
            assert hashlib.sha256(rfc8785.dumps(entry)).hexdigest() == row.hash
            assert rfc8785.dumps(facts).decode() == row.facts
        assert audit.find_break() is None
