"""The error tree: parts, exit codes, JSON, pickling, and what a message may never do."""

from __future__ import annotations

import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.foundation.core import errors
from luthier.foundation.core.errors import Interrupted, LuthierError, Problem, RecipeError, StoreError, shorten

# DESIGN section 3, and the standard library's kin of STYLE section 13.
TREE = {
    "RecipeError": (2, ValueError),
    "DataError": (2, ValueError),
    "ModelError": (2, ValueError),
    "PlanError": (2, ValueError),
    "LicenceError": (3, PermissionError),
    "PolicyDenied": (3, PermissionError),
    "TrainError": (1, RuntimeError),
    "EvalError": (1, RuntimeError),
    "DeployError": (1, RuntimeError),
    "ServeError": (1, RuntimeError),
    "StageFailed": (1, RuntimeError),
    "StoreError": (4, OSError),
    "EnvironmentLacks": (4, OSError),
    "MissingExtra": (4, ImportError),
    "Interrupted": (130, RuntimeError),
}
PARTS = {"got": "7", "origin": "r.yaml line 3", "needs": "1 GiB", "allowed": "1 to 5", "fix": "a: 5", "field": "a"}


def make(name: str) -> LuthierError:
    return getattr(errors, name)("E-REC-002", "'a' is too large", **PARTS)


def test_the_tree_is_the_one_of_the_design() -> None:
    found = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, LuthierError) and value is not LuthierError
    }

    assert found == set(TREE)


@pytest.mark.parametrize("name", TREE)
def test_each_class_has_its_exit_code_and_its_kin(name: str) -> None:
    error = make(name)
    exit_code, kin = TREE[name]

    assert error.exit_code == exit_code
    assert isinstance(error, kin)


@pytest.mark.parametrize("name", TREE)
def test_the_message_shows_every_part_in_the_order_of_the_house(name: str) -> None:
    assert str(make(name)) == (
        "E-REC-002: 'a' is too large\n"
        "  got:     7 (from r.yaml line 3)\n"
        "  needs:   1 GiB\n"
        "  allowed: 1 to 5\n"
        "  fix:     a: 5\n"
        "  docs:    luthier explain E-REC-002"
    )


@pytest.mark.parametrize("name", TREE)
def test_an_error_crosses_a_process_border_whole(name: str) -> None:
    copy = pickle.loads(pickle.dumps(make(name)))  # noqa: S301  our own bytes

    assert type(copy) is type(make(name))
    assert copy.problems == make(name).problems
    assert str(copy) == str(make(name))
    assert copy.exit_code == make(name).exit_code


def test_an_interruption_keeps_its_signal_across_a_process_border() -> None:
    error = Interrupted("E-LIF-005", "stopped", fix="run it again")
    error.signal_number = 15

    assert pickle.loads(pickle.dumps(error)).exit_code == 143  # noqa: S301  our own bytes


def test_several_problems_are_shown_at_once_and_the_first_names_the_error() -> None:
    problems = [Problem("E-REC-001", "first", fix="x"), Problem("E-REC-002", "second")]

    error = RecipeError.collect(iter(problems))

    assert error.code == "E-REC-001"
    assert str(error).split("\n\n") == [problem.render() for problem in problems]


def test_an_error_of_no_problem_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="at least one"):
        RecipeError.collect([])


def test_an_error_is_one_json_object_without_empty_parts() -> None:
    error = StoreError("E-ENV-003", "no space", got="3 MiB", fix="luthier gc")

    assert json.loads(json.dumps(error.to_dict())) == {
        "error": {
            "type": "StoreError",
            "exit_code": 4,
            "problems": [{"code": "E-ENV-003", "what": "no space", "got": "3 MiB", "fix": "luthier gc"}],
        }
    }


@given(st.one_of(st.text(), st.integers(), st.lists(st.text())), st.integers(min_value=7, max_value=300))
def test_a_shown_value_is_one_printable_line_whatever_it_was(value: object, limit: int) -> None:
    shown = shorten(value, limit)

    assert shown.isprintable()
    shown.encode("utf-8")
    # An escape is at most ten characters: \\U0001f600.
    assert len(shown) <= 10 * limit


def test_a_long_value_keeps_its_two_ends() -> None:
    shown = shorten("begin" + "x" * 10_000 + "end")

    assert shown.startswith("begin")
    assert shown.endswith("end")
    assert len(shown) <= errors.MAX_SHOWN_CHARACTERS


def test_a_value_cannot_move_the_cursor_or_break_the_encoding() -> None:
    assert shorten("a\x1b[2J\r\n\ud800") == "a\\x1b[2J\\r\\n\\ud800"


def test_a_value_that_is_falsy_is_still_shown() -> None:
    error = RecipeError("E-REC-002", "'epochs' must be above zero", got=0, fix="epochs: 1")

    assert error.problems[0].got == "0"
