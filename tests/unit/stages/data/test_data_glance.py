"""A look at a file: columns guessed by name and repetition, classes told from free answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.foundation.core.errors import DataError
from luthier.stages.data.columns import guess_columns
from luthier.stages.data.glance import look


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


TABLES = {
    "names that everybody uses": ([{"question": "a", "answer": "b"}], {"prompt": "question", "completion": "answer"}),
    "a text with its label is no plain text": (
        [{"text": "a", "label": "b"}],
        {"prompt": "text", "completion": "label"},
    ),
    "written in capitals": ([{"Text": "a", "Intent": "b"}], {"prompt": "Text", "completion": "Intent"}),
    "with a column between": (
        [{"id": "1", "Customer message": "a", "queue": "b"}],
        {"prompt": "Customer message", "completion": "queue"},
    ),
    "known names among other texts": (
        [{"region": "north", "question": "a", "remark": "c", "answer": "b"}],
        {"prompt": "question", "completion": "answer"},
    ),
    "unknown names, answers repeat": (
        [{"kind": "x", "was": f"sentence {n}"} for n in range(4)],
        {"prompt": "was", "completion": "kind"},
    ),
    "unknown names, nothing repeats": (
        [{"frage": f"f{n}", "antwort": f"a{n}"} for n in range(4)],
        {"prompt": "frage", "completion": "antwort"},
    ),
    "an unknown question beside a known answer": (
        [{"answer": f"a{n}", "frage": "f"} for n in range(4)],
        {"prompt": "frage", "completion": "answer"},
    ),
    "pairs": (
        [{"question": "a", "better": "b", "worse": "c"}],
        {"prompt": "question", "chosen": "better", "rejected": "worse"},
    ),
    "one column of pages": ([{"id": "7", "page": "a long page"}], {"text": "page"}),
    "plain text needs no name": ([{"text": "a"}], {}),
    "messages speak for themselves": ([{"messages": [], "label": "x", "text": "y"}], {}),
    "Alpaca speaks for itself": ([{"instruction": "a", "input": "", "output": "b"}], {}),
    "numbers are no answers": ([{"was": "a", "hour": "7"}, {"was": "b", "hour": "8"}], {"text": "was"}),
    "nothing to go by": ([{"a": "x", "b": "y", "c": "z"}], {}),
    "no rows": ([], {}),
}


@pytest.mark.parametrize("name", TABLES)
def test_columns_are_guessed(name: str):
    records, expected = TABLES[name]
    assert guess_columns(records) == expected


def test_few_short_answers_that_repeat_are_classes(tmp_path: Path):
    seen = look(write(tmp_path / "r.jsonl", [{"text": f"text {n}", "label": f"class {n % 4}"} for n in range(40)]))
    assert (seen.form, seen.num_labels, seen.num_rows) == ("prompt_completion", 4, 40)
    assert seen.longest_answer == len("class 0")


@pytest.mark.parametrize(
    "answers",
    [
        [f"answer {n}" for n in range(40)],
        ["x" * 100, "y"] * 20,
        ["always the same"] * 40,
    ],
    ids=["all different", "long", "only one"],
)
def test_other_answers_are_no_classes(answers: list[str], tmp_path: Path):
    records = [{"prompt": f"p{n}", "completion": answer} for n, answer in enumerate(answers)]
    assert look(write(tmp_path / "r.jsonl", records)).num_labels == 0


def test_calls_are_counted_and_tools_are_part_of_a_rows_length(tmp_path: Path):
    tools = [{"type": "function", "function": {"name": "go", "parameters": {"type": "object", "properties": {}}}}]
    call = {"id": "1", "type": "function", "function": {"name": "go", "arguments": "{}"}}
    asked = {"role": "user", "content": "q"}
    records = [
        {"messages": [asked, {"role": "assistant", "content": "", "tool_calls": [call]}], "tools": tools},
        {"messages": [asked, {"role": "assistant", "content": "no"}]},
    ]
    seen = look(write(tmp_path / "r.jsonl", records))
    assert (seen.num_calls, seen.num_labels) == (1, 0)
    assert seen.longest_row > len(json.dumps(tools))


def test_a_preference_is_one_and_both_answers_count(tmp_path: Path):
    seen = look(write(tmp_path / "r.jsonl", [{"prompt": "p", "chosen": "ab", "rejected": "abcdef"}]))
    assert (seen.kind, seen.longest_answer) == ("preference", 6)


def test_every_bad_row_is_told_at_once(tmp_path: Path):
    path = tmp_path / "r.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\n{broken\n{"prompt": 3, "completion": "b"}\n')
    with pytest.raises(DataError) as caught:
        look(path)
    assert [problem.origin.rpartition(" ")[2] for problem in caught.value.problems] == ["2", "3"]


def test_rows_without_a_form_say_how_columns_are_named(tmp_path: Path):
    with pytest.raises(DataError) as caught:
        look(write(tmp_path / "r.jsonl", [{"a": "x", "b": "y", "c": "z"}]))
    assert caught.value.code == "E-TXT-012"
    assert "columns:" in caught.value.problems[0].fix
