"""Evidence through the Python face: what an auditor asks, and what the answer admits that it cannot know."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from luthier.api import govern
from luthier.api.workspace import status
from luthier.foundation.core.errors import RecipeError, StoreError
from luthier.foundation.store.workspace import Workspace
from tests.fixtures.fake_stages import Bench, open_quick_folder


@pytest.fixture
def bench() -> Iterator[Bench]:
    with open_quick_folder() as folder:
        yield Bench(folder)


def change(bench: Bench, statement: str) -> None:
    with bench.workspace.database.write() as connection:
        connection.exec_driver_sql(statement)


def test_the_log_of_a_run_is_whole_and_says_what_it_cannot_see(bench: Bench):
    bench.run(author="Ada")
    verdict = govern.verify_audit(bench.root)
    assert (verdict.denied, verdict.facts["intact"], verdict.facts["findings"]) == (None, True, [])
    assert verdict.facts["num_entries"] == 10
    assert "cut at its end" in verdict.facts["not_seen"]
    assert govern.verify_audit(bench.root, head=verdict.facts["head"]).facts["not_seen"] == ""
    assert json.loads(json.dumps(verdict.facts)) == verdict.facts


@pytest.mark.parametrize(
    ("statement", "seq", "what"),
    [
        ("UPDATE audit SET facts = replace(facts, 'Ada', 'Bob') WHERE seq = 3", 3, "was changed"),
        ("UPDATE audit SET facts = 'no json' WHERE seq = 4", 4, "is not JSON"),
        ("DELETE FROM audit WHERE seq = 5", 5, "entry 5 is missing"),
        ("DELETE FROM audit WHERE seq BETWEEN 2 AND 6", 2, "entries 2 to 6 are missing"),
        ("DELETE FROM audit WHERE seq = 1", 1, "entry 1 is missing"),
        ("UPDATE audit SET seq = CASE seq WHEN 7 THEN 107 ELSE 7 END WHERE seq IN (7, 8)", 7, "does not follow"),
    ],
)
def test_edits_gaps_and_swaps_are_found_where_they_are(bench: Bench, statement: str, seq: int, what: str):
    bench.run(author="Ada")
    if "CASE" in statement:  # swap 7 and 8 by way of 107
        change(bench, "UPDATE audit SET seq = 107 WHERE seq = 7")
        change(bench, "UPDATE audit SET seq = 7 WHERE seq = 8")
        change(bench, "UPDATE audit SET seq = 8 WHERE seq = 107")
    else:
        change(bench, statement)
    verdict = govern.verify_audit(bench.root)
    assert verdict.facts["intact"] is False
    assert verdict.facts["findings"][0]["seq"] == seq
    assert any(what in finding["what"] for finding in verdict.facts["findings"])
    assert (verdict.denied.code, verdict.denied.exit_code) == ("E-GOV-007", 3)
    problem = verdict.denied.problems[0]
    assert problem.got == f"entry {seq}"
    assert problem.origin
    assert problem.allowed
    assert problem.fix


def test_the_last_entry_deleted_is_seen_with_a_head_that_was_noted_and_not_without(bench: Bench):
    bench.run()
    head = govern.verify_audit(bench.root).facts["head"]
    change(bench, "DELETE FROM audit WHERE seq = (SELECT max(seq) FROM audit)")
    assert govern.verify_audit(bench.root).facts["intact"] is True
    for noted in (head, head[:12]):
        verdict = govern.verify_audit(bench.root, head=noted)
        assert "--head noted: the log was cut or rewritten" in verdict.facts["findings"][0]["what"]
        assert verdict.denied.code == "E-GOV-007"


def test_a_log_that_grew_still_holds_the_head_that_was_noted(bench: Bench):
    bench.run("data")
    head = govern.verify_audit(bench.root).facts["head"]
    bench.run()
    assert govern.verify_audit(bench.root, head=head).denied is None


@pytest.mark.parametrize("head", ["", "1234567", "xyz" * 8, "ABCDEF0123"])
def test_a_head_that_is_no_hash_is_refused(tmp_path: Path, head: str):
    with pytest.raises(RecipeError) as caught:
        govern.verify_audit(tmp_path, head=head)
    problem = caught.value.problems[0]
    assert (problem.code, problem.origin, caught.value.exit_code) == ("E-REC-014", "--head", 2)


def test_an_approval_that_was_slipped_in_or_taken_out_is_found(bench: Bench):
    report = bench.run().report.digest
    govern.approve(bench.root, report, by="Ada", reason="fit")
    assert govern.verify_audit(bench.root).denied is None
    change(bench, "UPDATE approvals SET approver = 'Bob'")
    whats = [finding["what"] for finding in govern.verify_audit(bench.root).facts["findings"]]
    assert whats == [
        "the approval of entry 11 by Ada is not there any more",
        f"the approval by Bob of {report[:12]} has no entry",
    ]
    change(bench, "DELETE FROM approvals")
    assert govern.verify_audit(bench.root).denied.problems[0].got == "entry 11"


def test_an_empty_workspace_has_a_whole_empty_log_and_nothing_is_written(tmp_path: Path):
    facts = govern.verify_audit(tmp_path).facts
    assert (facts["intact"], facts["num_entries"], facts["head"]) == (True, 0, "0" * 64)
    assert govern.list_audit(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_entries_are_listed_in_order_the_newest_where_some_are_asked_for_and_damaged_ones_as_text(bench: Bench):
    bench.run("model", author="Ada")
    entries = govern.list_audit(bench.root)
    assert [entry["action"] for entry in entries] == ["stage.started", "stage.done"] * 2
    assert entries[0]["facts"]["author"] == "Ada"
    assert govern.list_audit(bench.root, last=1) == entries[-1:]
    assert govern.list_audit(bench.root, last=99) == entries
    change(bench, "UPDATE audit SET facts = '{' WHERE seq = 2")
    assert govern.list_audit(bench.root)[1]["facts"] == "{"
    for last in (0, -3):
        with pytest.raises(RecipeError, match="E-REC-014"):
            govern.list_audit(bench.root, last=last)


def test_an_approval_names_the_authors_and_everyone_so_far(bench: Bench):
    report = bench.run(author="Eve").report.digest
    govern.approve(bench.root, report[:12], by="Ada", reason="fit")
    done = govern.approve(bench.root, report[:12], by="Grace", reason="fit too", is_override=True)
    assert done["approval"]["record"] == report
    assert done["approval"]["is_override"] is True
    assert (done["authors"], done["approvers"]) == (["Eve"], ["Ada", "Grace"])


def test_lineage_and_card_come_by_the_same_names(bench: Bench):
    result = bench.run(author="Eve")
    found = govern.lineage(bench.root, result.run_id)
    assert (found["record"], found["authors"]) == (result.find("train").digest, ["Eve"])
    assert [node["kind"] for node in found["nodes"]] == ["run", "plan", "model_choice", "dataset_version"]
    assert govern.card(bench.root, result.report.digest).startswith("---\nlicense: mit\n")
    assert Workspace.open(bench.root).audit.find_break() is None


@pytest.mark.parametrize("facts", ["{", "[1]", ""])
def test_a_log_with_an_entry_that_is_no_object_is_shown_and_verified_and_never_a_traceback(bench: Bench, facts: str):
    report = bench.run().report.digest
    change(bench, f"UPDATE audit SET facts = '{facts}' WHERE action = 'stage.started'")  # noqa: S608  ours
    assert status(bench.root)["audit_break"] == 1
    for act in (
        lambda: govern.approve(bench.root, report, by="Ada", reason="fit"),
        lambda: govern.lineage(bench.root, report),
    ):
        with pytest.raises(StoreError) as caught:
            act()
        problem = caught.value.problems[0]
        assert (problem.code, problem.fix, caught.value.exit_code) == ("E-STO-005", "luthier govern audit verify", 4)
    assert Workspace.open(bench.root).approvals.entries() == ()
