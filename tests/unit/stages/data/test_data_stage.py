"""The whole stage: one record that accounts for every row, by content and not by path."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from luthier.foundation.core.errors import DataError
from luthier.foundation.schema.dataset import DatasetVersion
from luthier.foundation.schema.sections import DataSection, PluginChoice, Source, Split
from luthier.stages.data import stage
from luthier.stages.data.check import check_file
from luthier.stages.data.ledger import read_ledger
from luthier.stages.data.readers.source import Reading
from luthier.stages.data.report import build_report, describe_spread, render_html, tabulate_waterfall
from luthier.stages.data.why import why
from tests.fixtures.data_rows import DataContext, make_record, say, write_jsonl

RECORDS: list[dict[str, Any]] = [
    *(make_record(f"what is rule number {number}", f"rule {number}", id=f"r{number}") for number in range(30)),
    make_record("What is rule  number 3", "Rule 3", id="copy"),
    make_record("hid\u200bden", "ok", id="hidden"),
    make_record("say nothing", "  ", id="blank"),
    make_record("my mail is anna.berg@firma.de", "noted", id="mail"),
    make_record("how long does a transfer to another country take", "2 days", id="leak"),
]
EVALUATION = [make_record("How long does a transfer to another country take?", "two days", id="dev-1")]


@pytest.fixture
def workplace(tmp_path: Path) -> DataContext:
    write_jsonl(tmp_path / "train.jsonl.gz", RECORDS)
    write_jsonl(tmp_path / "dev.jsonl", EVALUATION)
    return DataContext(tmp_path)


def _section(**changes: Any) -> DataSection:
    values: dict[str, Any] = {"sources": (Source(path="train.jsonl.gz"),), "evaluation": {"dev": "dev.jsonl"}}
    return DataSection(**(values | changes))


def _run(context: DataContext, **changes: Any) -> DatasetVersion:
    return stage.run(_section(**changes), {}, context)


def test_the_waterfall_accounts_for_every_row(workplace: DataContext) -> None:
    record = _run(workplace)
    steps = {step.operator: step for step in record.identity.waterfall}
    assert list(steps) == ["read", "unicode", "empty", "pii", "dedupe", "decontaminate", "split"]
    assert [(step.rows_in, step.rows_out) for step in steps.values()] == [
        (35, 35), (35, 35), (35, 34), (34, 34), (34, 33), (33, 32), (32, 32),
    ]  # fmt: skip
    assert steps["unicode"].reasons == {"zero_width": 1}
    assert (steps["pii"].flagged, steps["pii"].reasons) == (1, {"email": 1})
    assert steps["decontaminate"].reasons == {"same_question": 1}
    assert {name: part.num_rows for name, part in record.identity.splits.items()} == {
        "train": 26, "validation": 3, "test": 3, "dev": 1,
    }  # fmt: skip


def test_rows_in_splits_and_ledger_are_the_rows_that_were_read(workplace: DataContext) -> None:
    record = _run(workplace)
    kept = [
        row.id
        for name in ("train", "validation", "test")
        for row in workplace.blobs.get_rows(record.identity.splits[name].blob)
    ]
    entries = list(read_ledger(record.identity.ledger, workplace.blobs))
    dropped = [entry.row for entry in entries if entry.action == "dropped"]
    assert sorted(kept + dropped) == sorted(row["id"] for row in RECORDS)
    assert sorted(dropped) == ["blank", "copy", "leak"]
    assert all(entry.before is not None for entry in entries if entry.action == "dropped")


def test_evaluation_rows_are_stored_as_they_were_read(workplace: DataContext) -> None:
    record = _run(workplace)
    assert say(list(workplace.blobs.get_rows(record.identity.splits["dev"].blob))) == [
        "How long does a transfer to another country take?"
    ]


def test_the_digest_knows_content_and_seed_but_no_folder(workplace: DataContext, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("train.jsonl.gz", "dev.jsonl"):
        shutil.copy(tmp_path / name, elsewhere / name)
    here, there = _run(workplace), _run(DataContext(elsewhere))
    assert here.digest == there.digest
    assert here.witness.paths != there.witness.paths
    assert _run(DataContext(tmp_path, seed=1)).digest != here.digest
    write_jsonl(elsewhere / "train.jsonl.gz", [*RECORDS, make_record("one more")])
    assert _run(DataContext(elsewhere)).digest != here.digest


def test_the_fingerprint_sees_bytes_and_operators_but_no_path(workplace: DataContext, tmp_path: Path) -> None:
    renamed = tmp_path / "renamed.jsonl.gz"
    shutil.copy(tmp_path / "train.jsonl.gz", renamed)
    first = stage.fingerprint(_section(), workplace)
    assert first == stage.fingerprint(_section(sources=(Source(path="renamed.jsonl.gz"),)), workplace)
    assert str(tmp_path) not in json.dumps(first)
    assert first != stage.fingerprint(_section(operators=(PluginChoice(type="unicode"),)), workplace)
    write_jsonl(renamed, RECORDS[:-1])
    assert first != stage.fingerprint(_section(sources=(Source(path="renamed.jsonl.gz"),)), workplace)


def test_a_reused_record_says_where_the_files_lie_today(workplace: DataContext, tmp_path: Path) -> None:
    record = _run(workplace)
    (tmp_path / "train.jsonl.gz").rename(tmp_path / "moved.jsonl.gz")
    again = stage.refresh(record, _section(sources=(Source(path="moved.jsonl.gz"),)), workplace)
    assert again.digest == record.digest
    assert again.witness.paths[0] == str(tmp_path / "moved.jsonl.gz")


def test_equal_ids_are_told_apart_and_so_are_files_of_one_name(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write_jsonl(tmp_path / folder / "rows.jsonl", [make_record(folder, id="same")])
    sources = (Source(path="one/rows.jsonl"), Source(path="two/rows.jsonl"))
    context = DataContext(tmp_path)
    record = _run(context, sources=sources, evaluation={}, split=Split(validation=0, test=0))
    rows = list(context.blobs.get_rows(record.identity.splits["train"].blob))
    assert [row.id for row in rows] == ["same", "same@rows.jsonl (2)-1"]
    assert [row.origin.file for row in rows] == ["rows.jsonl", "rows.jsonl (2)"]


def test_an_evaluation_set_may_stand_in_for_a_split_that_is_not_cut(workplace: DataContext) -> None:
    record = _run(workplace, evaluation={"test": "dev.jsonl"}, split=Split(test=0))
    assert record.identity.splits["test"].num_rows == 1


def test_why_tells_each_step_with_before_and_after(workplace: DataContext) -> None:
    record = _run(workplace)
    story = why(record, workplace.blobs, "hidden")
    [visit] = story.visits
    assert (visit.operator, visit.action, visit.reasons) == ("unicode", "changed", ("zero_width",))
    assert visit.before is not None
    assert visit.after is not None
    assert (say([visit.before]), say([visit.after])) == (["hid\u200bden"], ["hidden"])
    assert story.final == visit.after
    assert story.split in {"train", "validation", "test"}


def test_why_finds_a_dropped_row_by_file_and_line_and_names_the_one_kept(workplace: DataContext) -> None:
    story = why(_run(workplace), workplace.blobs, "data/train.jsonl.gz:31")
    [visit] = story.visits
    assert (story.row, story.split, story.final) == ("copy", None, None)
    assert (visit.operator, visit.detail["kept"]) == ("dedupe", "r3")


def test_why_of_a_row_that_nothing_touched_tells_where_it_is(workplace: DataContext) -> None:
    story = why(_run(workplace), workplace.blobs, "r5")
    assert story.visits == ()
    assert story.origin.line == 6


def test_why_of_a_row_that_was_never_there_is_an_error(workplace: DataContext) -> None:
    with pytest.raises(DataError) as caught:
        why(_run(workplace), workplace.blobs, "nobody")
    assert caught.value.code == "E-DAT-016"
    assert "nobody" in str(caught.value)


def test_the_report_counts_what_the_splits_hold(workplace: DataContext) -> None:
    record = _run(workplace)
    report = build_report(record, workplace.blobs)
    dev = report.splits["dev"]
    assert (dev.num_rows, dev.kinds, dev.messages.mean) == (1, {"conversation": 1}, 2.0)
    assert dev.characters.maximum == len("How long does a transfer to another country take?") + len("two days")
    html = render_html(report)
    assert html.startswith("<section")
    assert "decontaminate" in html
    assert "src=" not in html
    assert len(tabulate_waterfall(report.waterfall)) == 8


def test_names_from_the_data_cannot_write_html(workplace: DataContext) -> None:
    report = build_report(_run(workplace), workplace.blobs)
    step = report.waterfall[0].model_copy(update={"reasons": {"<script>": 1}})
    assert "<script>" not in render_html(report.model_copy(update={"waterfall": (step,)}))


def test_a_spread_is_mean_median_p95_and_maximum() -> None:
    """0 to 100: mean and median 50, and 95 % of the way is 95."""
    spread = describe_spread(list(range(101)))
    assert (spread.mean, spread.median, spread.p95, spread.maximum) == (50.0, 50.0, 95.0, 100)
    assert describe_spread([7]).p95 == 7
    assert describe_spread([]).maximum == 0


def test_check_reports_bad_rows_and_what_the_operators_would_do(tmp_path: Path) -> None:
    unanswered = {"messages": [{"role": "user", "content": "anybody?"}]}
    path = write_jsonl(tmp_path / "rows.jsonl", [*RECORDS, [], unanswered])
    checked = check_file(Reading(path))
    assert (checked.format, checked.form, checked.statistics.num_rows) == ("jsonl", "messages", 36)
    assert (checked.num_problems, checked.is_good) == (2, False)
    assert [problem["code"] for problem in checked.problems] == ["E-DAT-003", "E-DAT-015"]
    assert checked.waterfall[-1].rows_out == 33
    assert check_file(Reading(write_jsonl(tmp_path / "good.jsonl", RECORDS))).is_good
