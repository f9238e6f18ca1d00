"""The harness with a machine made up: batches are kept, and only open ones are asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from luthier.foundation.core.errors import EvalError
from luthier.foundation.core.progress import SilentProgress
from luthier.stages.evaluate.harness import AnswerLog, Answers, ask_all
from tests.fixtures.evaluate_runs import SYSTEMS, FakeMachine, make_suite

REFERENCES = ["a"] * 8  # batches of 3, 3 and 2 for each of two systems


def _ask(folder: Path, machine: FakeMachine, references: list[str] = REFERENCES, **options: object) -> Answers:
    suite = make_suite(references, **options)
    return ask_all([suite], SYSTEMS, machine, AnswerLog(folder / "answers.jsonl"), SilentProgress())


def test_every_system_answers_every_question(tmp_path: Path) -> None:
    answers = _ask(tmp_path, FakeMachine())
    assert {key: [a.text for a in found.values()] for key, found in answers.items()} == {
        ("task", system): [f"{system}:{i}" for i in range(8)] for system in SYSTEMS
    }


@pytest.mark.parametrize("killed_before", range(6))
def test_after_a_kill_no_kept_answer_is_asked_again(tmp_path: Path, killed_before: int) -> None:
    killed = FakeMachine(killed_before=killed_before)
    with pytest.raises(KeyboardInterrupt):
        _ask(tmp_path, killed)
    resumed = FakeMachine()
    answers = _ask(tmp_path, resumed)
    undisturbed = FakeMachine()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert answers == _ask(elsewhere, undisturbed)
    assert killed.asked + resumed.asked == undisturbed.asked


def test_a_torn_last_line_is_an_open_batch_and_asked_again_whole(tmp_path: Path) -> None:
    _ask(tmp_path, FakeMachine())
    path = tmp_path / "answers.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]) + lines[-1][: len(lines[-1]) // 2])
    machine = FakeMachine()
    answers = _ask(tmp_path, machine)
    assert machine.asked == [("tuned", (6, 7))]
    assert len(answers["task", "tuned"]) == 8
    assert path.read_bytes() == b"".join(lines)


def test_a_damaged_line_in_the_middle_is_refused(tmp_path: Path) -> None:
    _ask(tmp_path, FakeMachine())
    path = tmp_path / "answers.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"batch"', b'"botch"', 1))
    with pytest.raises(EvalError) as caught:
        _ask(tmp_path, FakeMachine())
    problem = caught.value.problems[0]
    assert (problem.code, problem.origin, problem.fix) == ("E-EVA-008", f"{path} line 1", f"rm {path}")


def test_an_answer_is_never_taken_for_another_questions(tmp_path: Path) -> None:
    _ask(tmp_path, FakeMachine())
    more_tokens, other_name = FakeMachine(), FakeMachine()
    _ask(tmp_path, more_tokens, max_new_tokens=7)
    _ask(tmp_path, other_name, name="other")
    assert len(more_tokens.asked) == len(other_name.asked) == 6
    fewer = FakeMachine()
    _ask(tmp_path, fewer, REFERENCES[:7])
    assert fewer.asked == [("base", (6,)), ("tuned", (6,))], "whole batches of the same company are kept"
