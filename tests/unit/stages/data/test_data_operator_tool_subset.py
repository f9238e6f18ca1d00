"""A row keeps the tools that it calls and a few others, drawn by its id; evaluation rows are shown alike."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import chisquare

from luthier.foundation.schema.dataset import DatasetVersion
from luthier.foundation.schema.rows import Message, Row, ToolCall
from luthier.foundation.schema.sections import DataSection, PluginChoice, Source, Split
from luthier.stages.data import stage
from luthier.stages.data.ledger import read_ledger
from luthier.stages.data.operators.tool_subset.config import Config
from luthier.stages.data.operators.tool_subset.operator import PLUGIN
from luthier.stages.data.outcomes import Changed, Kept
from tests.fixtures.data_rows import DataContext, write_jsonl

NAMES = tuple(f"tool-{number}" for number in range(12))


def _tool(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}


def _calling(*called: str, name: str = "row", names: tuple[str, ...] = NAMES) -> Row:
    calls = tuple(ToolCall.model_validate({"function": {"name": each, "arguments": "{}"}}) for each in called)
    messages = (Message(role="user", content="please"), Message(role="assistant", content="done", tool_calls=calls))
    return Row(id=name, messages=messages, tools=tuple(_tool(each) for each in names))


def _shown(row: Row, **options: Any) -> list[str]:
    [outcome] = PLUGIN.apply([row], Config(**options), {})
    return [tool["function"]["name"] for tool in outcome.row.tools]


def test_called_tools_stay_with_so_many_others_in_their_order() -> None:
    row = _calling("tool-9", "tool-2", "tool-9")
    [outcome] = PLUGIN.apply([row], Config(others=4), {})
    assert isinstance(outcome, Changed)
    shown = [tool["function"]["name"] for tool in outcome.row.tools]
    assert len(shown) == 6
    assert {"tool-2", "tool-9"} < set(shown)
    assert shown == [name for name in NAMES if name in shown]
    assert outcome.detail == {"shown": 6, "of": 12, "called": 2}
    assert outcome.row.model_copy(update={"tools": row.tools}) == row
    assert outcome.before == row


@pytest.mark.parametrize("row", [_calling(), _calling("tool-1", names=NAMES[:5]), _calling("elsewhere", names=())])
def test_a_row_with_nothing_to_leave_out_is_kept(row: Row) -> None:
    assert list(PLUGIN.apply([row], Config(others=12), {})) == [Kept(row)]


def test_calls_in_the_answers_of_a_preference_count() -> None:
    calls = _calling("tool-3").messages[1:]
    row = Row(id="p", kind="preference", chosen=calls, rejected=_calling("tool-7").messages[1:], tools=_calling().tools)
    assert _shown(row, others=0) == ["tool-3", "tool-7"]


def test_a_call_of_a_tool_that_is_not_listed_takes_nobodys_place() -> None:
    assert len(_shown(_calling("elsewhere"), others=4)) == 4


@given(st.lists(st.sampled_from(NAMES), max_size=12), st.integers(0, 14), st.integers(0, 9))
def test_a_second_pass_changes_nothing_and_all_called_tools_stay(called: list[str], others: int, seed: int) -> None:
    options = Config(others=others, seed=seed)
    [first] = PLUGIN.apply([_calling(*called)], options, {})
    assert list(PLUGIN.apply([first.row], options, {})) == [Kept(first.row)]
    assert len(first.row.tools) == min(12, len(set(called)) + others)
    assert set(called) <= {tool["function"]["name"] for tool in first.row.tools}


def test_what_is_drawn_depends_on_the_row_alone() -> None:
    rows = [_calling("tool-0", name=f"row-{number}") for number in range(20)]
    forwards = {outcome.row.id: outcome.row for outcome in PLUGIN.apply(rows, Config(), {})}
    backwards = {outcome.row.id: outcome.row for outcome in PLUGIN.apply(rows[::-1], Config(), {})}
    assert forwards == backwards
    assert _shown(rows[0]) == _shown(rows[0])
    assert any(_shown(row) != _shown(row, seed=1) for row in rows)


def test_every_other_tool_is_drawn_as_often_as_any() -> None:
    """Of 11 uncalled tools each is among 4 drawn with probability 4/11: a chi-square test over 1,100 rows.

    Draws of one row exclude each other, so the counts vary less than independent ones and the test is conservative.
    """
    counts: Counter[str] = Counter()
    for number in range(1100):
        counts.update(_shown(_calling("tool-0", name=f"row-{number}")))
    assert counts.pop("tool-0") == 1100
    assert sum(counts.values()) == 4400
    assert chisquare([counts[name] for name in NAMES[1:]]).pvalue > 0.001


def test_a_negative_number_of_others_is_refused() -> None:
    with pytest.raises(ValidationError):
        Config(others=-1)


def _record(name: str, number: int) -> dict[str, Any]:
    call = {"id": "c", "type": "function", "function": {"name": NAMES[number % 12], "arguments": "{}"}}
    messages = [
        {"role": "user", "content": f"please do thing number {number}"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": f"result {number}"},
        {"role": "assistant", "content": f"thing {number} is done"},
    ]
    return {"id": f"{name}-{number}", "messages": messages, "tools": [_tool(each) for each in NAMES]}


def _run(folder: Path, **options: Any) -> tuple[DatasetVersion, DataContext]:
    context = DataContext(folder)
    write_jsonl(folder / "train.jsonl", [_record("train", number) for number in range(8)])
    write_jsonl(folder / "dev.jsonl", [_record("dev", number) for number in range(100, 103)])
    section = DataSection(
        sources=(Source(path="train.jsonl"),),
        evaluation={"dev": "dev.jsonl"},
        operators=(PluginChoice(type="dedupe"), PluginChoice(type="tool_subset", options=options)),
        split=Split(validation=0.0, test=0.0),
    )
    return stage.run(section, {}, context), context


def test_evaluation_rows_are_shown_as_training_rows_are_and_the_ledger_says_so(tmp_path: Path) -> None:
    record, context = _run(tmp_path, others=2)
    for name, num_rows in (("train", 8), ("dev", 3)):
        rows = list(context.blobs.get_rows(record.identity.splits[name].blob))
        assert [len(row.tools) for row in rows] == [3] * num_rows
    entries = list(read_ledger(record.identity.ledger, context.blobs))
    assert [entry.row for entry in entries if entry.detail.get("evaluation") == "dev"] == [
        "dev-100",
        "dev-101",
        "dev-102",
    ]
    assert all(entry.before is not None and len(entry.before.tools) == 12 for entry in entries)
    step = next(step for step in record.identity.waterfall if step.operator == "tool_subset")
    assert (step.rows_in, step.changed) == (8, 8), "evaluation rows are no rows of the sources"


def test_evaluation_rows_keep_all_tools_where_the_options_say_so(tmp_path: Path) -> None:
    record, context = _run(tmp_path, others=2, evaluation=False)
    assert {len(row.tools) for row in context.blobs.get_rows(record.identity.splits["dev"].blob)} == {12}
    assert not any("evaluation" in entry.detail for entry in read_ledger(record.identity.ledger, context.blobs))
