"""``luthier feedback`` and ``retune`` as people and scripts meet them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from luthier.cli.failures import run_guarded
from luthier.cli.main import luthier
from tests.fixtures.fake_stages import open_quick_folder
from tests.fixtures.released_desk import ReleasedDesk, make_released_desk

CORRECTION = "Your card is in the post.\nIt comes on Monday."


class Terminal:
    """What was typed and what stood there then."""

    def __init__(self, desk: ReleasedDesk, capsys: pytest.CaptureFixture[str]) -> None:
        self.desk = desk
        self._capsys = capsys

    def type(self, *words: str, code: int = 0) -> str:
        assert run_guarded(luthier, [*words, "--workspace", str(self.desk.root)]) == code
        seen = self._capsys.readouterr()
        return seen.out if code == 0 else seen.err

    def json(self, *words: str) -> Any:
        return json.loads(self.type(*words, "--json"))


@pytest.fixture
def terminal(capsys: pytest.CaptureFixture[str]) -> Iterator[Terminal]:
    with open_quick_folder() as folder:
        yield Terminal(make_released_desk(folder), capsys)


def write_correction(terminal: Terminal) -> Path:
    value = {
        "response_id": terminal.desk.serve(1),
        "correction": CORRECTION,
        "messages": [{"role": "user", "content": "where is my card"}],
    }
    path = terminal.desk.root / "feedback.jsonl"
    path.write_text(json.dumps(value) + "\n")
    return path


def test_feedback_is_added_listed_and_reviewed(terminal: Terminal) -> None:
    assert "no feedback in" in terminal.type("feedback", "list")
    rated = terminal.json("feedback", "add", terminal.desk.serve(0), "--rating", "down", "--comment", "too short")
    added = terminal.json("feedback", "add", "--data", str(write_correction(terminal)))
    assert (rated["num_new"], added["num_new"]) == (1, 1)
    assert "0 added, 1 known already" in terminal.type("feedback", "add", "--data", str(write_correction(terminal)))

    name = added["feedback"][0]["id"]
    assert "Ann" in terminal.type("feedback", "review", name, "--accept", "--by", "Ann")
    shown = terminal.type("feedback", "list", "--state", "accepted")
    assert name in shown
    assert "Your card is in the post. It comes on Monday." in shown, "one line a piece"
    assert rated["feedback"][0]["id"] not in shown
    assert len(terminal.json("feedback", "list", "--last", "1")["feedback"]) == 1


@pytest.mark.parametrize(
    "words",
    [
        ("feedback", "add"),
        ("feedback", "add", "chatcmpl-0", "--data", "f.jsonl"),
        ("feedback", "add", "--data", "f.jsonl", "--rating", "up"),
        ("feedback", "review", "fb-1", "--by", "Ann"),
        ("feedback", "review", "--accept", "--by", "Ann"),
        ("feedback", "list", "--state", "old"),
        ("retune", "--until", "data"),
    ],
)
def test_a_command_that_says_too_little_or_too_much_is_told_so(terminal: Terminal, words: tuple[str, ...]) -> None:
    said = terminal.type(*words, code=2)
    assert "E-REC-014" in said
    assert f"luthier {words[0]}" in said


def test_the_next_recipe_is_shown_with_the_line_that_runs_it(terminal: Terminal) -> None:
    assert "E-MON-025" in terminal.type("retune", code=2)
    (piece,) = terminal.json("feedback", "add", "--data", str(write_correction(terminal)))["feedback"]
    terminal.type("feedback", "review", piece["id"], "--accept", "--by", "Ann")

    drafted = terminal.json("retune")
    assert drafted["num_rows"] == 1
    assert Path(drafted["recipe"]).is_file()
    shown = terminal.type("retune", "desk")
    assert f"next: luthier run {drafted['recipe']}" in shown
    assert "1 by correction, accepted by Ann" in shown
