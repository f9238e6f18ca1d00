"""The corridor: what is reused, what is not, what is loaded, what a stage is given, and how it may end."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from sqlalchemy import text

from luthier.foundation.core.errors import (
    DataError,
    EvalError,
    Interrupted,
    LuthierError,
    RecipeError,
    StageFailed,
    StoreError,
    TrainError,
)
from luthier.foundation.schema.protocols import Waiting
from luthier.foundation.schema.sections import PluginChoice, Recipe, Source
from tests.fixtures.fake_stages import AnyOptions, Bench, FakeStage, make_report, open_quick_folder

ALL = ("data", "model", "plan", "train", "evaluate")


@pytest.fixture
def bench() -> Iterator[Bench]:
    with open_quick_folder() as folder:
        yield Bench(folder)


def reused_only(*names: str) -> dict[str, bool]:
    return {name: name in names for name in ALL}


def test_the_same_recipe_again_reuses_every_stage_and_gives_the_same_records(bench: Bench) -> None:
    first, second = bench.run(), bench.run()
    assert [result.reused for result in first.stages] == [False] * 5
    assert [result.reused for result in second.stages] == [True] * 5
    assert [result.digest for result in first.stages] == [result.digest for result in second.stages]
    assert all(module.num_runs == 1 for module in bench.modules.values())
    assert second.verdict == "INCONCLUSIVE"
    assert bench.workspace.records.get(second.stages[-1].digest) == second.report


def test_changing_only_evaluate_reuses_the_training(bench: Bench) -> None:
    bench.run()
    bench.change("evaluate", systems=("base", "base_told", "tuned"))
    assert bench.reused() == reused_only("data", "model", "plan", "train")


def test_changing_one_training_row_does_not(bench: Bench) -> None:
    bench.run()
    (bench.root / "rows.txt").write_text("one\ntwo\nthrew\n")
    assert bench.reused() == reused_only("model")


def test_changing_paths_but_not_content_reuses_and_the_witness_tells_the_new_place(bench: Bench) -> None:
    bench.run()
    (bench.root / "moved").mkdir()
    (bench.root / "rows.txt").rename(bench.root / "moved" / "rows.txt")
    bench.change("data", sources=(Source(path="moved/rows.txt"),))
    bench.change("model", base="/elsewhere")
    result = bench.run()
    assert [stage.reused for stage in result.stages] == [True] * 5
    assert result.find("model").record.witness.path == "/elsewhere"
    assert bench.workspace.records.get(result.find("model").digest).witness.path == "/elsewhere"


def test_a_stage_and_all_after_it_run_anew_when_its_version_is_raised_and_its_record_changes(bench: Bench) -> None:
    bench.run()
    bench.modules["plan"].VERSION = 2
    make = bench.modules["plan"].make

    def make_other(*arguments):
        plan = make(*arguments)
        return plan.model_copy(update={"identity": plan.identity.model_copy(update={"num_steps": 2})})

    bench.modules["plan"].make = make_other
    assert bench.reused() == reused_only("data", "model")


def test_a_stage_that_runs_anew_and_makes_the_same_record_leaves_all_after_it_reused(bench: Bench) -> None:
    bench.run()
    bench.modules["model"].VERSION = 2
    assert bench.reused() == reused_only("data", "plan", "train", "evaluate")


@pytest.mark.parametrize(
    ("plugin", "runs"),
    [
        (("operators", "unicode"), {"data"}),
        (("methods", "lora"), {"plan", "train"}),
        (("metrics", "exact_match"), {"evaluate"}),
        (("suites", "task"), {"evaluate"}),
        (("operators", "dedupe"), set()),
    ],
)
def test_raising_the_version_of_a_plug_in_runs_the_stages_that_name_it(bench: Bench, plugin, runs) -> None:
    bench.run()

    class Newer(AnyOptions):
        VERSION = 2

    bench.load = lambda family, name: Newer if (family, name) == plugin else AnyOptions
    assert {stage for stage, reused in bench.reused().items() if not reused} == runs


def test_the_seed_is_part_of_every_key(bench: Bench) -> None:
    bench.run()
    bench.recipe = bench.recipe.model_copy(update={"seed": 1})
    assert bench.reused()["data"] is False
    assert bench.modules["train"].num_runs == 2


def test_no_key_and_no_digest_depends_on_a_later_section_and_no_later_stage_is_loaded(bench: Bench) -> None:
    first = bench.run("plan")
    assert set(bench.loaded) == {"data", "model", "plan"}
    bench.change("evaluate", systems=("base",), suites=())
    bench.change("deploy", target=PluginChoice(type="folder"))
    second = bench.run("plan")
    assert [stage.digest for stage in first.stages] == [stage.digest for stage in second.stages]
    assert [stage.reused for stage in second.stages] == [True] * 3
    assert [stage.stage for stage in bench.run("evaluate").stages] == list(ALL)


def test_lineage_runs_from_the_report_to_the_data(bench: Bench) -> None:
    result = bench.run()
    digests = {stage.stage: stage.digest for stage in result.stages}
    records = bench.workspace.records
    assert {step.digest for step in records.walk_parents(digests["evaluate"])} == set(digests.values()) - {
        digests["evaluate"]
    }
    assert result.find("train").record.identity.parents == {name: digests[name] for name in ("data", "model", "plan")}
    assert digests["evaluate"] in {step.digest for step in records.walk_children(digests["data"])}


def test_a_run_folder_holds_a_recipe_that_loads_again_its_origins_and_the_environment(bench: Bench) -> None:
    result = bench.run("train")
    folder = bench.root / ".luthier" / "runs" / result.run_id
    assert len(result.run_id) == 12
    assert bench.modules["train"].contexts[0].folder == folder
    written = yaml.safe_load((folder / "recipe.yaml").read_text())
    assert written["data"]["operators"] == [{"type": "unicode"}]
    assert Recipe.model_validate({**written, "data": {}, "train": {}, "evaluate": {}, "deploy": {}}).name == "bench"
    assert json.loads((folder / "origins.json").read_text()) == {"name": "recipe.yaml line 1"}
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["git"] is None
    assert {"torch", "transformers", "peft"} <= set(environment["packages"])


@pytest.mark.parametrize(("until", "code"), [("deploy", "E-LIF-001"), ("monitor", "E-LIF-001"), ("trian", "E-LIF-002")])
def test_a_stage_that_is_not_built_or_not_known_is_refused_before_anything_runs(bench: Bench, until, code) -> None:
    with pytest.raises(RecipeError) as caught:
        bench.run(until)
    problem = caught.value.problems[0]
    assert (problem.code, problem.got, caught.value.exit_code) == (code, until, 2)
    assert problem.allowed
    assert problem.fix == ("--until train" if until == "trian" else "--until evaluate")
    assert not (bench.root / ".luthier").exists()


def test_without_until_the_corridor_says_where_it_ends(bench: Bench) -> None:
    bench.run()
    assert bench.progress.said == ["this version ends at evaluate: deploy and monitor are not built yet"]


def test_a_stage_that_waits_is_on_record_and_running_again_goes_on(bench: Bench) -> None:
    folders = []

    def make(section, inputs, ctx):
        folders.append(ctx.folder)
        if not (ctx.folder / "approved").exists():
            return Waiting(stage="evaluate", reason="approval", detail="luthier govern approve x")
        return make_report(section, inputs, ctx)

    bench.modules["evaluate"].make = make
    first = bench.run()
    assert first.waiting.reason == "approval"
    assert [stage.stage for stage in first.stages] == list(ALL[:-1])
    assert first.to_json()["waiting"]["detail"] == "luthier govern approve x"
    key = bench.modules["evaluate"].contexts[0].cache_key
    assert bench.workspace.executions.get(key).state == "waiting"
    assert bench.run().waiting is not None
    (folders[0] / "approved").touch()
    second = bench.run()
    assert second.waiting is None
    assert second.verdict == "INCONCLUSIVE"
    assert bench.workspace.executions.get(key).state == "done"
    assert len(set(folders)) == 1, "the working folder is stable for one key"
    assert bench.workspace.audit.find_break() is None


def test_a_called_stage_is_cached_and_becomes_a_parent(bench: Bench) -> None:
    def make(section, inputs, ctx):
        for _ in range(2):
            proxy = ctx.call("train", bench.recipe.train.model_copy(update={"epochs": 0.5}), inputs_of_train)
        assert proxy.KIND == "run"
        return make_report(section, inputs, ctx)

    first = bench.run("plan")
    inputs_of_train = {stage.stage: stage.record for stage in first.stages}
    bench.modules["evaluate"] = FakeStage(make, NEEDS=("train",))
    result = bench.run()
    assert bench.modules["train"].num_runs == 2, "the recipe's own training and one proxy, asked for twice"
    parents = result.report.identity.parents
    assert set(parents) == {*ALL[:-1], "call1.train", "call2.train"}
    assert parents["call1.train"] == parents["call2.train"]
    bench.change("evaluate", systems=("base",))
    bench.run()
    assert bench.modules["train"].num_runs == 2


def test_a_stage_that_calls_a_waiting_one_waits_too(bench: Bench) -> None:
    def wait(section, inputs, ctx):
        return Waiting(stage="train", reason="remote_job", detail="luthier status")

    def make(section, inputs, ctx):
        ctx.call("train", bench.recipe.train, {})

    bench.modules["plan"] = FakeStage(make, NEEDS=("train",))
    bench.modules["train"].make = wait
    assert bench.run().waiting.reason == "remote_job"


@pytest.mark.parametrize(
    ("act", "got", "fix"),
    [
        (lambda ctx: ctx.call("train", None, {}), "train", "NEEDS = ('train',)"),
        (lambda ctx: ctx.section("govern"), "govern", "READS = ('train', 'govern')"),
    ],
)
def test_what_a_stage_did_not_declare_is_refused(bench: Bench, act, got, fix) -> None:
    bench.modules["plan"].make = lambda *arguments: act(arguments[2])
    with pytest.raises(StageFailed) as caught:
        bench.run()
    problem = caught.value.problems[0]
    assert (problem.code, problem.got, problem.fix) == ("E-LIF-004", got, fix)


def test_a_stage_that_calls_itself_with_the_same_inputs_is_refused_instead_of_waiting_for_itself(bench: Bench) -> None:
    def make(section, inputs, ctx):
        return ctx.call("plan", section, inputs)

    bench.modules["plan"] = FakeStage(make, NEEDS=("plan",))
    with pytest.raises(StageFailed, match=r"E-LIF-004.*called by itself"):
        bench.run()


@pytest.mark.parametrize(("stage", "kind"), [("data", StageFailed), ("train", TrainError), ("evaluate", EvalError)])
def test_an_unknown_error_becomes_the_stages_own_with_its_traceback_in_a_file(bench: Bench, stage, kind) -> None:
    def fail(section, inputs, ctx):
        message = "token=abc123 went wrong"
        raise ZeroDivisionError(message)

    good, bench.modules[stage].make = bench.modules[stage].make, fail
    with pytest.raises(kind) as caught:
        bench.run()
    problem = caught.value.problems[0]
    assert (type(caught.value), problem.code, caught.value.exit_code) == (kind, "E-LIF-003", 1)
    assert "ZeroDivisionError" in problem.what
    assert problem.fix
    trace = Path(problem.origin).read_text()
    assert "ZeroDivisionError" in trace
    assert "in fail" in trace
    assert "abc123" not in trace + problem.got, "secrets are redacted"
    key = bench.modules[stage].contexts[0].cache_key
    assert bench.workspace.executions.get(key).state == "failed"
    assert bench.workspace.locks.holders() == []
    bench.modules[stage].make = good
    assert bench.run().verdict == "INCONCLUSIVE"


def test_a_known_error_passes_as_it_is(bench: Bench) -> None:
    error = DataError("E-DAT-001", "a bad row", fix="mend it")

    def fail(section, inputs, ctx):
        raise error

    bench.modules["data"].make = fail
    with pytest.raises(DataError) as caught:
        bench.run()
    assert caught.value is error


def test_a_stage_that_returns_something_else_is_refused(bench: Bench) -> None:
    bench.modules["train"].make = lambda *arguments: arguments[1]["data"]
    with pytest.raises(StageFailed) as caught:
        bench.run()
    assert caught.value.problems[0].code == "E-LIF-006"
    assert caught.value.problems[0].got == "DatasetVersion"


def test_refreshing_a_record_may_not_change_its_identity(bench: Bench) -> None:
    bench.run()
    other = bench.run("data").find("data").record

    def refresh(record, section, ctx):
        return (
            other
            if record.KIND != "dataset_version"
            else record.model_copy(update={"identity": record.identity.model_copy(update={"ledger": "0" * 64})})
        )

    bench.modules["data"].refresh = refresh
    with pytest.raises(StageFailed, match=r"E-LIF-006.*changed a record's identity"):
        bench.run()


def test_a_folder_is_refused_while_the_key_is_computed(bench: Bench) -> None:
    bench.modules["train"].fingerprint = lambda *arguments: {"x": str(arguments[1].folder)}
    with pytest.raises(StageFailed, match=r"E-LIF-006.*before its cache key"):
        bench.run()


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_stage_with_its_state_saved_and_running_again_goes_on(bench, number, exit_code) -> None:
    before = signal.getsignal(signal.SIGTERM)
    good = bench.modules["train"].make

    def make(section, inputs, ctx):
        if not (ctx.folder / "checkpoint").exists():
            (ctx.folder / "checkpoint").write_text("step 7")
            os.kill(os.getpid(), number)
        return good(section, inputs, ctx)

    bench.modules["train"].make = make
    with pytest.raises(Interrupted) as caught:
        bench.run()
    assert (caught.value.code, caught.value.exit_code) == ("E-LIF-005", exit_code)
    key = bench.modules["train"].contexts[0].cache_key
    assert bench.workspace.executions.get(key).state == "interrupted"
    assert bench.workspace.locks.holders() == []
    assert signal.getsignal(signal.SIGTERM) == before
    assert bench.reused() == reused_only("data", "model", "plan")
    assert bench.modules["train"].contexts[1].folder == bench.modules["train"].contexts[0].folder


def test_a_lost_or_damaged_blob_is_named_and_the_next_run_makes_it_anew(bench: Bench) -> None:
    first = bench.run()
    blob = first.find("data").record.identity.splits["train"].blob
    for damage in (lambda path: path.unlink(), lambda path: path.write_bytes(b"damage")):
        damage(bench.workspace.blobs.locate(blob))
        bench.recipe = bench.recipe.model_copy(
            update={"train": bench.recipe.train.model_copy(update={"epochs": bench.recipe.train.epochs + 1})}
        )
        with pytest.raises(StoreError) as caught:
            bench.run()
        assert caught.value.problems[0].code in {"E-STO-002", "E-STO-003"}
        assert f"dataset_version {first.find('data').digest[:12]}" in str(caught.value)
        assert bench.reused() == reused_only("model", "plan")
        assert bench.workspace.blobs.get(blob)


def test_what_was_made_under_a_lost_lock_is_not_stored_and_the_new_owners_execution_is_left_alone(bench: Bench) -> None:
    good = bench.modules["train"].make

    def make(section, inputs, ctx):
        with bench.workspace.database.write() as connection:
            connection.execute(text("UPDATE locks SET owner = 'rival'"))
        return good(section, inputs, ctx)

    bench.modules["train"].make = make
    with pytest.raises(StoreError, match="E-STO-008"):
        bench.run()
    assert [entry.kind for entry in bench.workspace.records.entries()] == ["plan", "model_choice", "dataset_version"]
    assert bench.workspace.executions.find("", stage="train")[0].state == "running"
    assert [holder.owner for holder in bench.workspace.locks.holders()] == ["rival"]


def test_a_second_look_while_waiting_takes_what_the_first_process_made(bench: Bench) -> None:
    """Two corridors in one process: the inner one starts while the outer one trains, and must not train itself."""
    bench.workspace_options = {}
    outer = bench.modules["evaluate"].make
    inner = Bench(bench.root)

    def make(section, inputs, ctx):
        assert inner.reused("train") == {"data": True, "model": True, "plan": True, "train": True}
        return outer(section, inputs, ctx)

    bench.modules["evaluate"].make = make
    bench.run()
    assert inner.modules["train"].num_runs == 0


def test_an_error_says_more_than_its_class(bench: Bench) -> None:
    bench.change("data", sources=(Source(path="absent.txt"),))
    with pytest.raises(LuthierError) as caught:
        bench.run()
    assert "FileNotFoundError" in str(caught.value)
