"""The plan renders every row first, then fixes every number; what cannot be is refused before anything is loaded."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from luthier.foundation.core.errors import DataError, EnvironmentLacks, PlanError
from luthier.foundation.schema.dataset import DatasetIdentity, DatasetVersion, DatasetWitness, RowSet
from luthier.foundation.schema.model import ModelChoice
from luthier.foundation.schema.plan import Plan
from luthier.foundation.schema.rows import Message, Row
from luthier.foundation.schema.sections import GovernSection, ModelSection, PlanSection, PluginChoice, TrainSection
from luthier.stages.model.stage import run as run_model
from luthier.stages.plan import machine_speed, stage
from luthier.stages.plan.machine_speed import MachineSpeed, measure_speed
from luthier.stages.plan.probes import pick_probes
from tests.fixtures.stage_contexts import SectionContext
from tests.fixtures.tiny_models import build_tiny
from tests.fixtures.tiny_task import make_task_rows

NO_DIGEST = "0" * 64
SPEED = MachineSpeed(fp32_gflops=100.0, bf16_gflops=300.0, best="bf16")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny("llama", tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(autouse=True)
def known_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's speed is given, so that numbers do not depend on who runs the test."""
    monkeypatch.setattr(stage, "measure_speed", lambda: SPEED)


def make_plan(
    folder: Path, base: Path, *, plan: PlanSection | None = None, rows: tuple[Row, ...] | None = None, **train: Any
) -> tuple[Plan, SectionContext]:
    section = TrainSection(**{"max_length": 256, **train})
    ctx = SectionContext(folder, sections={"train": section, "govern": GovernSection()})
    splits = {
        "train": make_task_rows(48, seed=1, prefix="train") if rows is None else rows,
        "validation": make_task_rows(4, seed=2, prefix="validation"),
        "test": make_task_rows(5, seed=3, prefix="test"),
    }
    sets = {name: RowSet(blob=ctx.blobs.put_rows(part), num_rows=len(part)) for name, part in splits.items()}
    data = DatasetVersion(
        identity=DatasetIdentity(sources=(), waterfall=(), splits=sets, ledger=NO_DIGEST), witness=DatasetWitness()
    )
    model: ModelChoice = run_model(ModelSection(base=str(base), license="MIT"), {}, ctx)
    return stage.run(plan or PlanSection(probes=8), {"data": data, "model": model}, ctx), ctx


def test_every_number_is_concrete_and_has_its_reason(base: Path, tmp_path: Path) -> None:
    plan, ctx = make_plan(tmp_path, base)
    identity = plan.identity
    assert identity.precision == "bf16"
    assert identity.num_examples == 48
    assert identity.num_steps >= 1
    assert identity.pack_tokens >= 1
    assert identity.method["type"] == "lora"
    assert set(identity.parents) == {"data", "model"}
    assert {reason.field for reason in plan.witness.reasons} == {
        "plan.precision",
        "plan.num_examples",
        "train.batch_tokens",
        "train.learning_rate",
        "plan.pack_tokens",
    }
    assert len(list(ctx.blobs.get_lines(identity.examples))) == 48
    assert plan.witness.peak_memory_bytes == sum(plan.witness.memory_bytes.values())


def test_the_same_inputs_give_the_same_plan_whatever_the_machine_reports(base: Path, tmp_path: Path) -> None:
    first, _ = make_plan(tmp_path / "a", base)
    second, _ = make_plan(tmp_path / "b", base)
    assert first.digest == second.digest


def test_fewer_examples_are_a_prefix_of_more(base: Path, tmp_path: Path) -> None:
    def ids(number: int) -> list[str]:
        plan, ctx = make_plan(tmp_path / str(number), base, plan=PlanSection(num_examples=number, probes=1))
        return [str(line["id"]) for line in ctx.blobs.get_lines(plan.identity.examples)]

    assert ids(10) == ids(40)[:10]


def test_probes_are_held_out_rows_first_then_fixed_ones(base: Path, tmp_path: Path) -> None:
    plan, ctx = make_plan(tmp_path, base, plan=PlanSection(probes=12))
    ids = [row.id for row in ctx.blobs.get_rows(plan.identity.probes)]
    assert len(ids) == 12
    assert all(name.startswith(("test", "validation")) for name in ids[:9])
    assert not any(name.startswith(("test", "validation", "train")) for name in ids[9:])


def test_picking_probes_does_not_depend_on_the_order_of_rows() -> None:
    rows = make_task_rows(30, seed=1, prefix="row")
    assert pick_probes(rows, (), wanted=7, seed=3) == pick_probes(rows[::-1], (), wanted=7, seed=3)
    assert pick_probes(rows, (), wanted=7, seed=3) != pick_probes(rows, (), wanted=7, seed=4)


def test_without_validation_rows_nothing_is_validated(base: Path, tmp_path: Path) -> None:
    assert make_plan(tmp_path, base)[0].identity.evaluate_every > 0
    data = DatasetVersion(
        identity=DatasetIdentity(
            sources=(), waterfall=(), splits={"validation": RowSet(blob=NO_DIGEST, num_rows=0)}, ledger=NO_DIGEST
        ),
        witness=DatasetWitness(),
    )
    assert not stage._has_validation(data)


def test_rows_that_cannot_be_trained_on_are_all_named_at_once(base: Path, tmp_path: Path) -> None:
    bad = tuple(Row(id=f"bad{n}", messages=(Message(role="user", content="?"),)) for n in range(3))
    with pytest.raises(DataError) as caught:
        make_plan(tmp_path, base, rows=(*make_task_rows(4, seed=1), *bad))
    assert [problem.code for problem in caught.value.problems] == ["E-TXT-008"] * 3


def test_long_rows_are_refused_unless_the_recipe_says_drop(base: Path, tmp_path: Path) -> None:
    messages = (Message(role="user", content="x" * 400), Message(role="assistant", content="y"))
    rows = (*make_task_rows(12, seed=1), Row(id="long", messages=messages))
    with pytest.raises(DataError, match="E-TXT-009"):
        make_plan(tmp_path / "refuse", base, rows=rows)
    plan, ctx = make_plan(tmp_path / "drop", base, rows=rows, too_long="drop")
    assert plan.identity.num_examples == 12
    assert "1 rows are longer than 256 tokens" in ctx.said


def test_no_row_left_is_an_error(base: Path, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="E-PLN-003"):
        make_plan(tmp_path, base, rows=())


def test_a_length_beyond_the_context_is_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(PlanError) as caught:
        make_plan(tmp_path, base, max_length=100_000)
    problem = caught.value.problems[0]
    assert (problem.code, problem.field) == ("E-PLN-004", "train.max_length")
    assert problem.fix.startswith("--set train.max_length=")


@pytest.mark.parametrize("text", ["plenty", "8", "-1 GiB", "8 TB"])
def test_a_memory_limit_that_is_no_size_is_refused(base: Path, tmp_path: Path, text: str) -> None:
    with pytest.raises(PlanError) as caught:
        make_plan(tmp_path, base, plan=PlanSection(memory_limit=text))
    problem = caught.value.problems[0]
    assert (problem.code, problem.got, problem.field) == ("E-PLN-005", text, "plan.memory_limit")


def test_over_budget_is_refused_before_anything_is_loaded(base: Path, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"E-PLN-001[\s\S]*GiB"):
        make_plan(tmp_path, base, plan=PlanSection(memory_limit="64 MiB"))


def test_a_rank_above_the_layer_is_refused_by_the_methods_own_arithmetic(base: Path, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="E-ENG-003"):
        make_plan(tmp_path, base, method=PluginChoice(type="lora", options={"rank": 4096}))


def test_speed_is_measured_by_a_child_and_a_broken_one_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = tmp_path / "child.py"
    monkeypatch.setattr(machine_speed, "MODULE", "child")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    child.write_text('print("noise"); print(\'{"fp32_gflops": 1.0, "bf16_gflops": 2.0, "best": "bf16"}\')')
    assert measure_speed().rate("bf16") == 2.0
    assert not measure_speed().has_kernels
    child.write_text('raise SystemExit("torch is broken")')
    with pytest.raises(EnvironmentLacks) as caught:
        measure_speed(interpreter=sys.executable)
    problem = caught.value.problems[0]
    assert (problem.code, problem.got, caught.value.exit_code) == ("E-ENV-006", "torch is broken", 4)
    child.write_text("import time; time.sleep(60)")
    with pytest.raises(EnvironmentLacks, match=r"E-ENV-006[\s\S]*no answer in 0.2 seconds: the machine is busy"):
        measure_speed(timeout_seconds=0.2)
