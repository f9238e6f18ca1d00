"""Training runs as the Python face tells them: newest first, unfinished ones too, side by side, with their curves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from luthier.api import data, runs, workspace
from luthier.foundation.core.errors import DataError, LuthierError, RecipeError, TrainError
from luthier.foundation.schema.protocols import Waiting
from luthier.foundation.schema.run import RunWitness
from tests.fixtures.fake_stages import Bench, make_run, open_quick_folder


@pytest.fixture
def bench() -> Iterator[Bench]:
    with open_quick_folder() as folder:
        yield Bench(folder)


def train_with_curve(section: Any, inputs: Any, ctx: Any) -> Any:
    """Write three steps and a torn line, as a killed process leaves it."""
    lines = [{"step": step, "loss": 2.0 / step} for step in (1, 2, 3)]
    (ctx.folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 4, "lo')
    record = make_run(section, inputs, ctx)
    witness = RunWitness(seconds=90.0, rate_tokens_per_second=1234.0, peak_memory_bytes=5 * 2**20)
    return record.model_copy(update={"witness": witness})


def fail(section: Any, inputs: Any, ctx: Any) -> Any:
    raise TrainError("E-TRN-003", "the loss is not a number", got="nan", fix="--set train.learning_rate=1e-5")


def train_twice(bench: Bench) -> tuple[str, str]:
    """Make a run of one epoch and one of two; return their IDs."""
    bench.modules["train"].make = train_with_curve
    bench.change("train", epochs=1)
    first = bench.run("train").run_id
    bench.change("train", epochs=2)
    second = bench.run("train").run_id
    assert first
    assert second
    return first, second


def test_runs_are_listed_newest_first_with_what_they_gave(bench: Bench) -> None:
    first, second = train_twice(bench)

    listed = runs.list_runs(bench.root)

    assert [run["run"] for run in listed] == [second, first]
    assert {run["state"] for run in listed} == {"done"}
    assert {run["recipe"] for run in listed} == {"bench"}
    assert (listed[0]["num_steps"], listed[0]["train_loss"], listed[0]["validation_loss"]) == (1, 0.5, None)
    assert (listed[0]["seconds"], listed[0]["rate_tokens_per_second"]) == (90.0, 1234.0)
    assert json.loads(json.dumps(listed)) == listed


def test_a_run_that_failed_is_listed_without_figures_and_its_log_holds_the_reason(bench: Bench) -> None:
    bench.modules["train"].make = fail
    with pytest.raises(TrainError):
        bench.run("train")

    (listed,) = runs.list_runs(bench.root)

    assert listed["state"] == "failed"
    assert "train_loss" not in listed
    shown = runs.logs(bench.root, listed["run"])
    assert (shown["state"], shown["steps"]) == ("failed", [])


def test_an_unknown_fault_leaves_its_traceback_in_the_log(bench: Bench) -> None:
    def break_down(section: Any, inputs: Any, ctx: Any) -> Any:
        return 1 // 0

    bench.modules["train"].make = break_down
    with pytest.raises(LuthierError):
        bench.run("train")
    (listed,) = runs.list_runs(bench.root)

    assert "ZeroDivisionError" in runs.logs(bench.root, listed["run"])["failure"]


def test_two_runs_side_by_side_show_only_what_differs(bench: Bench) -> None:
    first, second = train_twice(bench)

    compared = runs.compare_runs(bench.root, first, second)

    assert compared["recipe"] == [{"key": "train.epochs", "first": 1, "second": 2}]
    assert [run["run"] for run in compared["runs"]] == [first, second]
    turned = runs.compare_runs(bench.root, second, first)
    assert turned["recipe"] == [{"key": "train.epochs", "first": 2, "second": 1}]
    assert runs.compare_runs(bench.root, first, first)["recipe"] == []


def test_a_key_that_only_one_recipe_has_stands_against_nothing(bench: Bench) -> None:
    first, _ = train_twice(bench)
    bench.change("train", method=bench.recipe.train.method.model_copy(update={"options": {"rank": 8}}))
    third = bench.run("train").run_id
    assert third

    compared = runs.compare_runs(bench.root, first, third)

    by_key = {row["key"]: (row["first"], row["second"]) for row in compared["recipe"]}
    assert by_key["train.method.rank"] == (None, 8)


def test_a_run_whose_folder_was_swept_is_still_listed_by_its_record(bench: Bench) -> None:
    first, second = train_twice(bench)
    swept = workspace.gc(bench.root, days=0)
    assert len(swept["folders"]) >= 2

    listed = runs.list_runs(bench.root)

    assert [(run["run"], run["recipe"], run["num_steps"]) for run in listed] == [(second, None, 1), (first, None, 1)]
    assert runs.compare_runs(bench.root, first, second)["recipe"] == []
    assert runs.logs(bench.root, first)["steps"] == []


def test_a_curve_ends_where_the_file_is_torn(bench: Bench) -> None:
    first, _ = train_twice(bench)

    shown = runs.logs(bench.root, first[:6])

    assert [step["loss"] for step in shown["steps"]] == [2.0, 1.0, 2.0 / 3]
    assert (shown["run"], shown["state"], shown["failure"]) == (first, "done", "")


def test_digits_that_several_runs_begin_with_are_refused_with_their_ids(bench: Bench) -> None:
    bench.modules["train"].make = make_run
    ids: list[str] = []
    for epochs in range(1, 18):  # 17 runs, 16 first digits: two of them begin alike
        bench.change("train", epochs=epochs)
        ids.append(str(bench.run("train").run_id))
    digit = next(one[0] for one in ids if sum(other[0] == one[0] for other in ids) > 1)

    with pytest.raises(RecipeError, match="several runs begin with") as caught:
        runs.logs(bench.root, digit)

    problem = caught.value.problems[0]
    assert problem.code == "E-STO-004"
    assert set(str(problem.allowed).split(", ")) <= {one for one in ids if one[0] == digit}


def test_what_was_made_from_a_data_set_is_told_nearest_first(bench: Bench) -> None:
    result = bench.run()
    dataset = result.stages[0].digest

    found = data.used_by(bench.root, dataset[:8])

    assert found["record"] == dataset
    assert found["kind"] == "dataset_version"
    depths = [child["depth"] for child in found["used_by"]]
    assert depths == sorted(depths)
    assert depths[0] == 1
    assert {child["kind"] for child in found["used_by"]} == {"plan", "run", "report"}
    assert data.used_by(bench.root, "latest") == found
    assert data.used_by(bench.root, result.stages[-1].digest)["used_by"] == []


def test_a_workspace_without_a_data_set_says_how_to_get_one(bench: Bench) -> None:
    with pytest.raises(RecipeError, match="no workspace here yet"):
        data.report(bench.root)
    bench.run("data")
    with pytest.raises(RecipeError) as caught:
        data.report(bench.root, "f" * 64)
    assert caught.value.code == "E-STO-004"


def test_a_workspace_with_records_but_no_data_set_says_so(bench: Bench) -> None:
    from tests.fixtures.example_records import make_model_example

    bench.workspace.records.put(make_model_example(), stage="model", cache_key="k" * 64)

    with pytest.raises(DataError, match="holds no data set yet") as caught:
        data.report(bench.root)
    assert caught.value.problems[0].fix == "luthier data curate RECIPE"


def test_a_stage_that_waits_is_unfinished_and_says_what_it_waits_for(bench: Bench) -> None:
    waiting = Waiting(stage="train", reason="approval", detail="ask the owner")
    bench.modules["train"].make = lambda *_: waiting
    bench.run("train")

    (unfinished,) = workspace.status(bench.root)["unfinished"]

    assert (unfinished["stage"], unfinished["state"]) == ("train", "waiting")
    assert unfinished["detail"] == "ask the owner"


def test_a_place_without_a_workspace_has_no_runs_and_stays_empty(bench: Bench) -> None:
    elsewhere = bench.root / "elsewhere"

    assert runs.list_runs(elsewhere) == []
    assert workspace.status(elsewhere)["exists"] is False
    assert not elsewhere.exists()
