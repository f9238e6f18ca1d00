"""What a corridor tells: one sentence a record, and the object that ``run --json`` prints."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from luthier.foundation.schema.dataset import WaterfallStep
from luthier.foundation.schema.report import Difference, GateVerdict
from luthier.lifecycle.evidence import describe
from tests.fixtures.fake_stages import Bench, make_report, open_quick_folder
from tests.fixtures.store_records import make_dataset


@pytest.fixture
def bench() -> Iterator[Bench]:
    with open_quick_folder() as folder:
        yield Bench(folder)


def make_judged_report(section, inputs, ctx):
    """A report with one gain and one gate that passed."""
    report = make_report(section, inputs, ctx)
    gain = Difference(
        metric="task.exact_match",
        first="base",
        second="tuned",
        value=0.25,
        interval=(0.1, 0.4),
        p=0.01,
        test="sign_flip",
        n=40,
        clusters=40,
        discordant=10,
        detectable=0.2,
    )
    gate = GateVerdict(
        metric="task.exact_match",
        against="base",
        rule="above",
        verdict="PASS",
        value=0.25,
        bound=0.0,
        n=40,
        reason="p 0.005 below 0.05",
    )
    update = {"differences": (gain,), "gates": (gate,), "verdict": "PASS"}
    return report.model_copy(update={"identity": report.identity.model_copy(update=update)})


def test_the_evidence_of_each_stage_is_one_sentence_with_its_numbers(bench: Bench) -> None:
    bench.modules["evaluate"].make = make_judged_report
    assert [stage.evidence for stage in bench.run().stages] == [
        "train 3 rows; 0 dropped, 0 changed",
        "fake, 0.0 M parameters, licence MIT allowed",
        "3 rows, 1 steps, fp32; expects 0.0 GiB and 0 seconds",
        "1 steps, loss 0.5000; 0 tokens/s",
        "PASS (task.exact_match above base: PASS)",
    ]


def test_dropped_and_changed_rows_are_summed_over_the_waterfall() -> None:
    steps = (
        WaterfallStep(operator="unicode", rows_in=9, rows_out=9, changed=4),
        WaterfallStep(operator="dedupe", rows_in=9, rows_out=7, dropped=2),
        WaterfallStep(operator="pii", rows_in=7, rows_out=6, dropped=1, changed=1),
    )
    record = make_dataset(num_rows=6)
    record = record.model_copy(update={"identity": record.identity.model_copy(update={"waterfall": steps})})
    assert describe(record) == "train 6 rows; 3 dropped, 5 changed"


def test_the_json_of_a_whole_run_holds_gain_gates_and_report_and_can_be_written(bench: Bench) -> None:
    bench.modules["evaluate"].make = make_judged_report
    result = bench.run()
    shown = json.loads(json.dumps(result.to_json()))
    assert [stage["stage"] for stage in shown["stages"]] == ["data", "model", "plan", "train", "evaluate"]
    assert set(shown["stages"][0]) == {"stage", "reused", "seconds", "digest", "evidence"}
    assert (shown["gain"]["value"], shown["verdict"]) == (0.25, "PASS")
    assert shown["gates"][0]["verdict"] == "PASS"
    assert shown["report"] == result.report.digest
    assert shown["run"] == result.run_id


def test_what_was_not_reached_is_absent_from_the_json(bench: Bench) -> None:
    result = bench.run("plan")
    assert set(result.to_json()) == {"stages"}
    assert (result.verdict, result.report, result.run_id) == (None, None, None)
