"""Feedback from a file to the data stage: all or nothing, reviewed by name, cleaned like any other source."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from luthier.api import feedback as api
from luthier.api.data import report
from luthier.api.run import run
from luthier.foundation.core.errors import DataError, LuthierError, RecipeError, StoreError
from luthier.foundation.store.workspace import Workspace
from luthier.stages.monitor.telemetry_log import TrafficLog
from tests.fixtures.fake_stages import open_quick_folder
from tests.fixtures.requests_seen import make_content, make_facts

ASKED = [{"role": "user", "content": "what of my card, says ann@nordbank.com"}]


@pytest.fixture
def root() -> Iterator[Path]:
    with open_quick_folder() as folder:
        log = TrafficLog(folder / ".luthier" / "telemetry")
        for number in range(6):
            log.write(make_facts(number))
        log.write(make_facts(6, content=make_content()))
        yield folder


def correct(number: int, answer: str = "card") -> dict[str, Any]:
    return {"response_id": f"chatcmpl-{number}", "rating": "down", "correction": answer, "messages": ASKED}


def write(path: Path, *values: object) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path


def refuse(kind: type[LuthierError], act: Any) -> Any:
    with pytest.raises(kind) as caught:
        act()
    return caught.value


def test_a_file_of_feedback_is_taken_whole_or_not_at_all(root: Path) -> None:
    bad = write(root / "bad.jsonl", correct(0), {"response_id": "chatcmpl-99", "rating": "up"}, correct(1, " "))
    error = refuse(DataError, lambda: api.add_file(root, bad))
    assert [(problem.code, problem.origin) for problem in error.problems] == [
        ("E-MON-021", f"{bad} line 2"),
        ("E-MON-020", f"{bad} line 3"),
    ]
    assert api.list_feedback(root) == []

    done = api.add_file(root, write(root / "good.jsonl", correct(0), correct(1)))
    assert done["num_new"] == 2
    assert [piece["response_id"] for piece in api.list_feedback(root)] == ["chatcmpl-0", "chatcmpl-1"]


@pytest.mark.parametrize("content", [b"\xff\n", b"[]\n", b"{half\n", b'"text"\n'])
def test_a_line_that_is_no_object_is_named(root: Path, content: bytes) -> None:
    path = root / "f.jsonl"
    path.write_bytes(b"\n" + content)
    error = refuse(DataError, lambda: api.add_file(root, path))
    assert error.code == "E-MON-020"
    assert str(path) in error.problems[0].origin


def test_a_file_that_is_not_there_is_said_so(root: Path) -> None:
    assert refuse(DataError, lambda: api.add_file(root, root / "none.jsonl")).code == "E-MON-020"


@pytest.mark.parametrize(("ids", "by"), [([], "Ann"), (["fb-1"], " "), (["fb-1"], "A\nnn"), (["fb-1"], "x" * 201)])
def test_a_review_needs_something_to_decide_on_and_a_name(root: Path, ids: list[str], by: str) -> None:
    error = refuse(RecipeError, lambda: api.review(root, ids, "accepted", by=by))
    problem = error.problems[0]
    assert (problem.code, error.exit_code) == ("E-MON-024", 2)
    assert problem.got
    assert problem.allowed
    assert "--by" in problem.fix


def test_nothing_accepted_is_nothing_to_collect(root: Path) -> None:
    api.add(root, correct(0))
    error = refuse(RecipeError, lambda: api.collect(root, root / "next"))
    problem = error.problems[0]
    assert (problem.code, problem.fix) == ("E-MON-025", "luthier feedback list --state new")
    assert not (root / "next").exists()


def accept_all(root: Path) -> None:
    api.review(root, [piece["id"] for piece in api.list_feedback(root)], "accepted", by="Ann")


def test_collecting_writes_a_new_folder_whole_or_not_at_all(root: Path) -> None:
    api.add(root, correct(0))
    accept_all(root)
    target = root / "next"
    target.mkdir()
    assert refuse(RecipeError, lambda: api.collect(root, target)).code == "E-REC-014"
    target.rmdir()
    (root / "file").write_text("")
    with pytest.raises((NotADirectoryError, StoreError)):
        api.collect(root, root / "file" / "next")

    assert api.collect(root, target)["num_rows"] == 1


def test_accepted_corrections_go_through_the_operators_of_stage_1(root: Path) -> None:
    """Three equal corrections are one row; a rejected one is none; what was kept of a conversation comes along."""
    for number in range(3):
        api.add(root, correct(number))
    accept_all(root)
    api.add(root, correct(3, "nonsense"))
    (rejected,) = [piece["id"] for piece in api.list_feedback(root, state="new")]
    api.review(root, [rejected], "rejected", by="Bob")
    api.add(root, {"response_id": "chatcmpl-6", "correction": "I wrote to him."})
    api.review(root, [piece["id"] for piece in api.list_feedback(root, state="new")], "accepted", by="Cem")

    collected = api.collect(root, root / "next")
    assert collected["num_rows"] == 4
    data = run(collected["recipe"], until="data", workspace=root).stages[0].record

    (source,) = data.identity.sources
    assert (source.form, source.num_rows, source.basis) == ("messages", 4, "feedback, reviewed by Ann, Cem")
    rows = list(Workspace.open(root).blobs.get_rows(data.identity.splits["train"].blob))
    assert sorted(row.messages[-1].text for row in rows) == ["I wrote to him.", "card"]
    assert rows[0].messages[0].text == "what of my card, says <EMAIL_1>"
    dropped = {step.operator: step.rows_in - step.rows_out for step in report(root, data.digest).waterfall}
    assert dropped["dedupe"] == 2


def test_accepted_preferences_become_pairs_of_a_data_set(root: Path) -> None:
    api.add(root, {"response_id": "chatcmpl-6", "preferred": "I wrote to him."})
    accept_all(root)
    collected = api.collect(root, root / "next", kind="preference")
    data = run(collected["recipe"], until="data", workspace=root).stages[0].record

    (row,) = Workspace.open(root).blobs.get_rows(data.identity.splits["train"].blob)
    assert (row.kind, row.chosen[0].text, row.rejected[0].text) == (
        "preference",
        "I wrote to him.",
        "I wrote to <EMAIL_2>.",
    )
