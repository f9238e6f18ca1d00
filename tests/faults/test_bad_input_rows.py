"""Rows that cannot be trained on, through the real command line: each named by file and line, none cut in silence."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import pytest

from luthier.foundation.registry import get_rows
from tests.fixtures.bad_input import NUM_ROWS, Desk, check_refusal
from tests.fixtures.data_rows import make_record

pytestmark = pytest.mark.fault
GOOD_ROWS = [make_record(f"question {number}", f"answer {number}") for number in range(NUM_ROWS)]
LINE = f"bad.jsonl line {NUM_ROWS + 1}"


def to_lines(records: Iterable[Any]) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def say(*turns: tuple[str, Any], **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in turns], **fields}


CALL = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": "{oops"}}
ONE_BAD: dict[str, tuple[Any, str, tuple[str, ...]]] = {
    "a conversation that ends in a user turn": (
        say(("user", "hello"), ("assistant", "yes?"), ("user", "and now?")),
        "E-DAT-015",
        ("nobody answers", "unanswered: trim", "and now?"),
    ),
    "a row of another form": ({"instruction": "b", "output": "c"}, "E-DAT-007", ("alpaca", "bad.jsonl line 1")),
    "a role that nobody knows": (say(("wizard", "a"), ("assistant", "b")), "E-TXT-013", ("wizard", "assistant, tool")),
    "a content that is null": (say(("user", None), ("assistant", "b")), "E-TXT-013", ("null",)),
    "a system message in the middle": (
        say(("user", "a"), ("system", "b"), ("assistant", "c")),
        "E-TXT-014",
        ("user, system, assistant",),
    ),
    "a tool that nobody called": (say(("user", "a"), ("tool", "b"), ("assistant", "c")), "E-TXT-014", ("tool",)),
    "a call whose arguments are no JSON": (
        {
            "messages": [
                {"role": "user", "content": "q"},
                {"role": "assistant", "content": "", "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "c1", "content": "r"},
                {"role": "assistant", "content": "done"},
            ]
        },
        "E-TXT-015",
        ("find", "{oops", "json.dumps"),
    ),
    "a picture": (
        say(("user", [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]), ("assistant", "a")),
        "E-TXT-018",
        ("image_url",),
    ),
    "a number that is none": (make_record("q", "a", score=float("nan")), "E-DAT-008", ("score", "finite")),
    "a number beyond exactness": (make_record("q", "a", n=2**60), "E-DAT-008", ("2**53",)),
}


@pytest.mark.parametrize("case", ONE_BAD)
def test_one_bad_row_among_good_ones_is_named_by_its_line_and_nothing_is_stored(desk: Desk, case: str) -> None:
    record, code, parts = ONE_BAD[case]
    desk.write("bad.jsonl", to_lines([*GOOD_ROWS, record]))
    recipe = desk.write_recipe(("rows.jsonl", "bad.jsonl"))
    (problem,) = check_refusal(desk, ["run", recipe, "--until", "train"], codes=[code], parts=[*parts, LINE])
    assert problem["origin"] == LINE


def test_fifty_broken_lines_are_counted_and_twenty_shown(desk: Desk) -> None:
    desk.write("bad.jsonl", to_lines(GOOD_ROWS) + b"{oops\n" * 50)
    recipe = desk.write_recipe(("rows.jsonl", "bad.jsonl"))
    codes = ["E-DAT-003"] * 20 + ["E-DAT-009"]
    check_refusal(desk, ["data", "curate", recipe], codes=codes, parts=[LINE, "50 rows are bad"])


def test_rows_without_a_known_form_are_refused_with_the_forms_that_are(desk: Desk) -> None:
    desk.write("bad.jsonl", to_lines([{"foo": "bar"}]))
    recipe = desk.write_recipe(("rows.jsonl", "bad.jsonl"))
    check_refusal(desk, ["run", recipe, "--until", "data"], codes=["E-TXT-012"], parts=["foo", "messages", "columns:"])


def test_a_validation_set_that_gets_no_row_is_refused(desk: Desk) -> None:
    desk.write("bad.jsonl", to_lines(GOOD_ROWS[:2]))
    recipe = desk.write_recipe(("rows.jsonl", "bad.jsonl"))
    parts = ["set is empty", "data.split.validation", "2 rows"]
    check_refusal(desk, ["run", recipe, "--until", "data"], codes=["E-DAT-012"], parts=parts)


def write_long(desk: Desk, *changes: tuple[str, str]) -> str:
    """Write rows of which every fourth is longer than the recipe's length, all of them for training."""
    long = [make_record(f"question {n}", "word " * 300) for n in range(0, NUM_ROWS, 4)]
    short = [row for number, row in enumerate(GOOD_ROWS) if number % 4]
    desk.write("bad.jsonl", to_lines([*short, *long]))
    whole = ("sources:", "split: {validation: 0, test: 0}\n  sources:")
    validation = ("suites: [{type: task, on: test, metrics: [exact_match], max_new_tokens: 4}]", "suites: []")
    return desk.write_recipe(("rows.jsonl", "bad.jsonl"), whole, validation, *changes)


def test_rows_longer_than_the_length_are_refused_each_and_never_cut(desk: Desk) -> None:
    recipe = write_long(desk)
    problems = check_refusal(
        desk,
        ["run", recipe, "--until", "plan"],
        codes=["E-TXT-009"] * 10,
        parts=["too_long", "128"],
        stores=["dataset_version"],
    )
    lines = [int(problem["origin"].rpartition(" ")[2]) for problem in problems]
    assert lines == list(range(31, 41))


def test_rows_longer_than_the_length_are_dropped_where_the_recipe_says_so_and_counted(desk: Desk) -> None:
    recipe = write_long(desk, ("max_length: 128", "max_length: 128\n  too_long: drop"))
    ended = desk.call("run", recipe, "--until", "plan")
    assert ended.code == 0, ended.err
    plan = desk.call("run", "bad.yaml", "--until", "plan", "--json").answer["plan"]
    assert plan["identity"]["num_examples"] == 30
    told = [reason["reason"] for reason in plan["witness"]["reasons"] if reason["field"] == "train.too_long"]
    assert told == ["10 rows are longer than 128 tokens and are left out"]
    assert told[0] in ended.err


def test_a_length_beyond_the_context_of_the_base_is_refused(desk: Desk) -> None:
    recipe = desk.write_recipe(("max_length: 128", "max_length: 4096"))
    parts = ["4096", "up to 512", "--set train.max_length=512"]
    check_refusal(desk, ["plan", recipe], codes=["E-PLN-004"], parts=parts)


def test_rows_with_nothing_to_train_are_refused_before_training(desk: Desk) -> None:
    silent = [{"messages": [r["messages"][0], {**r["messages"][1], "weight": 0}]} for r in GOOD_ROWS]
    desk.write("bad.jsonl", to_lines(silent))
    recipe = desk.write_recipe(("rows.jsonl", "bad.jsonl"))
    before = desk.keep()
    shown = desk.call("run", recipe, "--until", "train", "--json")
    assert shown.code == 2
    assert {problem["code"] for problem in shown.problems} <= {"E-TXT-006", "E-DAT-009"}
    assert "weight: 1" in shown.err
    assert "run" not in {kind for _, kind, _ in desk.keep().records - before.records}
    assert desk.reuses_everything()


def test_preference_rows_are_refused_by_supervised_tuning_with_a_fix_that_exists(desk: Desk) -> None:
    desk.write("bad.jsonl", to_lines({"prompt": f"q{n}", "chosen": "a", "rejected": "b"} for n in range(NUM_ROWS)))
    recipe = desk.write_recipe(("rows.jsonl", "bad.jsonl"))
    shown = desk.call("run", recipe, "--until", "plan", "--json")
    assert shown.code == 2
    assert {problem["code"] for problem in shown.problems} <= {"E-TXT-016", "E-DAT-009"}
    named = re.findall(r"--set train.objective=(\w+)", shown.problems[0]["fix"])
    assert named, shown.problems[0]["fix"]
    assert set(named) <= set(get_rows("objectives")), "an objective that is not built mends nothing"
    assert desk.reuses_everything()


@pytest.mark.parametrize("row", ["no-such-row", "rows.jsonl:4000", ""])
def test_the_story_of_an_unknown_row_is_refused_with_how_rows_are_named(desk: Desk, row: str) -> None:
    check_refusal(desk, ["data", "why", "latest", row], codes=["E-DAT-016"], parts=["FILE:LINE"])


@pytest.mark.parametrize("command", [["data", "why", "deadbeef", "rows-1"], ["data", "used-by", "ffffffff"]])
def test_an_unknown_record_is_a_slip_of_the_person_not_of_the_machine(desk: Desk, command: list[str]) -> None:
    check_refusal(desk, command, codes=["E-STO-004"], parts=["8 digits"])
