"""Feedback in the store: nothing is lost, nothing twice, and every review has a name and an audit entry."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from luthier.foundation.core.clock import FixedClock
from luthier.foundation.core.errors import RecipeError
from luthier.foundation.schema.feedback import Feedback, FeedbackPayload, name_feedback
from luthier.foundation.store.feedback import REVIEWED
from luthier.foundation.store.workspace import Workspace

RELEASE = "ab12" * 16


def make_piece(number: int, **changes: object) -> Feedback:
    payload = FeedbackPayload(messages=({"role": "user", "content": "hi"},), correction=f"answer {number}")
    response = f"chatcmpl-{number}"
    piece = Feedback(
        id=name_feedback(response, "down", payload),
        time=f"2026-03-02T00:{number:02d}:00.000+00:00",
        response_id=response,
        release=RELEASE,
        model="desk",
        kind="correction",
        rating="down",
        payload=payload,
    )
    return piece.model_copy(update=changes)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path, clock=FixedClock(datetime(2026, 3, 3, tzinfo=UTC)))


def test_what_was_added_comes_back_whole_and_in_order(workspace: Workspace) -> None:
    pieces = [make_piece(number) for number in range(12)]
    assert workspace.feedback.add(pieces[6:]) == [True] * 6
    assert workspace.feedback.add(pieces[:6]) == [True] * 6

    assert Workspace.open(workspace.root).feedback.entries() == pieces
    assert workspace.feedback.entries(limit=2) == pieces[-2:]
    assert workspace.feedback.entries(release="cd34" * 16) == []


def test_a_repeated_message_is_one_piece_and_does_not_undo_its_review(workspace: Workspace) -> None:
    workspace.feedback.add([make_piece(1)])
    (reviewed,) = workspace.feedback.review([make_piece(1).id], "accepted", by="Ann")

    assert workspace.feedback.add([make_piece(1), make_piece(2)]) == [False, True]
    assert workspace.feedback.entries(state="accepted") == [reviewed]
    assert (reviewed.reviewed_by, reviewed.reviewed_at[:10]) == ("Ann", "2026-03-03")


def test_reviews_are_in_the_audit_log_with_what_was_before(workspace: Workspace) -> None:
    first, second = make_piece(1), make_piece(2)
    workspace.feedback.add([first, second])
    workspace.feedback.review([first.id], "accepted", by="Ann")
    workspace.feedback.review([second.id, first.id], "rejected", by="Bob")

    entries = workspace.audit.entries(action=REVIEWED)
    assert [entry.facts for entry in entries] == [
        {"feedback": [first.id], "state": "accepted", "by": "Ann", "before": ["new"]},
        {"feedback": [second.id, first.id], "state": "rejected", "by": "Bob", "before": ["new", "accepted"]},
    ]
    assert workspace.audit.find_break() is None


def test_an_unknown_id_among_known_ones_reviews_none_of_them(workspace: Workspace) -> None:
    workspace.feedback.add([make_piece(1)])
    with pytest.raises(RecipeError) as caught:
        workspace.feedback.review([make_piece(1).id, "fb-nobody"], "accepted", by="Ann")
    problem = caught.value.problems[0]

    assert (problem.code, caught.value.exit_code) == ("E-MON-023", 2)
    assert problem.got == "fb-nobody"
    assert problem.fix == "luthier feedback list --state new"
    assert [piece.state for piece in workspace.feedback.entries()] == ["new"]
    assert workspace.audit.entries(action=REVIEWED) == []


def test_listing_writes_no_workspace(tmp_path: Path) -> None:
    assert Workspace.open(tmp_path).feedback.entries() == []
    assert list(tmp_path.iterdir()) == []
