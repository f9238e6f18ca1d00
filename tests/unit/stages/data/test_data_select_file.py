"""Selection on one file: the rows that are written are the rows that were chosen, and come back as they were."""

import json
from pathlib import Path

import pytest

from luthier.api import data
from luthier.foundation.schema.rows import Row
from luthier.stages.data.readers.source import Reading, read_rows
from luthier.stages.data.select_file import to_record
from tests.fixtures.data_rows import make_record, write_jsonl

CALL = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": "{}"}}
QUESTION = {"role": "user", "content": "q"}
RECORDS = [
    {
        "id": "own",
        "messages": [
            QUESTION,
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "content": "found", "tool_call_id": "c1", "name": "find"},
            {
                "role": "assistant",
                "content": [{"type": "text", "text": "a "}, {"type": "text", "text": "b"}],
                "weight": 0,
            },
        ],
        "tools": [{"type": "function", "function": {"name": "find"}}],
        "conversation_id": "g",
        "label": "x",
    },
    {"prompt": [QUESTION], "chosen": "good", "rejected": "bad", "score": 2},
    {"prompt": "q", "completion": "a", "label": False},
    {"prompt": "q", "completion": "a", "system": "s"},
    {"text": "a page", "url": "u"},
]


def strip(row: Row) -> dict[str, object]:
    return row.model_dump(exclude={"origin"})


@pytest.mark.parametrize("record", RECORDS, ids=["conversation", "preference", "judged", "completion", "text"])
def test_a_row_that_is_written_is_read_as_the_same_row(tmp_path: Path, record: dict[str, object]) -> None:
    (row,) = read_rows(Reading(write_jsonl(tmp_path / "rows.jsonl", [record]))).rows
    (again,) = read_rows(Reading(write_jsonl(tmp_path / "again.jsonl", [to_record(row)]))).rows

    assert strip(again) == strip(row)


def test_chosen_rows_are_written_best_first_with_the_reason_and_the_cost_told(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [make_record(f"word{n} word{n % 3}", id=f"r{n}") for n in range(40)])
    found = data.select(path, type="deft_ucs", fraction=0.25, output=tmp_path / "few.jsonl")
    written = [json.loads(line)["id"] for line in (tmp_path / "few.jsonl").read_text().splitlines()]

    assert (found.rows_in, found.rows_out, sum(found.reasons.values())) == (40, 10, 10)
    assert written == [pick["id"] for pick in found.picks]
    assert (found.selector["selector"], found.flops > 0) == ("deft_ucs", True)


def test_a_file_without_ids_and_with_doubled_ids_is_chosen_from_by_name(tmp_path: Path) -> None:
    path = write_jsonl(
        tmp_path / "rows.jsonl", [make_record("a", id="same"), make_record("b", id="same"), make_record("c")]
    )
    found = data.select(path, type="random", fraction=1.0)

    assert len({pick["id"] for pick in found.picks}) == 3
