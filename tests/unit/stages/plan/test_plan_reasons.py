"""Every number of a plan is told with its reason in words, and a refusal names what would fit."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.foundation.core.errors import PlanError
from luthier.foundation.registry import load_config
from luthier.foundation.schema.model import ModelShape
from luthier.foundation.schema.sections import PlanSection
from luthier.instruments.text.encode import EncodedRow
from luthier.stages.plan.examples import choose_num_examples, order_examples
from luthier.stages.plan.hardware import count_cores, find_hardware
from luthier.stages.plan.hyperparameters import choose_batch_tokens, choose_learning_rate, count_every
from luthier.stages.plan.machine_speed import MachineSpeed
from luthier.stages.plan.memory import explain_over_budget
from luthier.stages.plan.probes import pick_probes
from luthier.stages.plan.throughput import estimate_seconds
from tests.fixtures.data_rows import make_row
from tests.fixtures.example_records import make_model_example
from tests.fixtures.train_jobs import make_row as make_encoded

GIBIBYTE = 2**30
SHAPE: ModelShape = make_model_example().identity.shape


# Batch, rate and number of rows.


def test_a_batch_is_told_by_its_rows_and_their_mean_length() -> None:
    """1,000 rows of 30 tokens, three epochs: full steps of 16 rows, 480 tokens."""
    tokens, reason = choose_batch_tokens("auto", [30] * 1000, epochs=3)

    assert (tokens, reason.field, reason.value) == (480, "train.batch_tokens", "480")
    assert reason.reason == "16 rows of 30 tokens in the mean"


def test_a_smaller_batch_says_for_the_sake_of_which_steps() -> None:
    """80 rows, three epochs, forty steps: 80 x 3 / 40 = 6 rows a step."""
    tokens, reason = choose_batch_tokens("auto", [30] * 80, epochs=3)

    assert tokens == 180
    assert reason.reason == "6 rows of 30 tokens in the mean, fewer than 16 so that 80 rows give at least 40 steps"


def test_what_the_recipe_says_is_taken_and_said_to_be_its_own() -> None:
    method = load_config("methods", "lora")()

    assert choose_batch_tokens(99, [30], epochs=1)[1].reason == "as the recipe says"
    assert choose_learning_rate(3e-4, method, SHAPE)[1].reason == "as the recipe says"  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["lora", "full"])
def test_a_methods_own_rate_is_told_with_its_formula_and_paper(name: str) -> None:
    rate, reason = choose_learning_rate("auto", load_config("methods", name)(), SHAPE)  # type: ignore[arg-type]

    assert reason.field == "train.learning_rate"
    assert float(reason.value) == rate
    assert "LoRA Without Regret" in reason.reason
    assert f"width {SHAPE.width}" in reason.reason


def test_an_adapters_rate_is_ten_times_that_of_full_tuning() -> None:
    """The published fit (LoRA Without Regret, 2025): a factor of ten at every width, to two digits."""
    for width in (64, 576, 4096):
        shape = SHAPE.model_copy(update={"width": width})
        adapter, _ = choose_learning_rate("auto", load_config("methods", "lora")(), shape)  # type: ignore[arg-type]
        full, _ = choose_learning_rate("auto", load_config("methods", "full")(), shape)  # type: ignore[arg-type]
        assert adapter / full == pytest.approx(10.0, rel=0.05)


@pytest.mark.parametrize(
    ("section", "number", "told"),
    [
        (PlanSection(), 500, "every row that passed the checks"),
        (PlanSection(num_examples=70), 70, "as plan.num_examples says"),
        (PlanSection(num_examples=500), 500, "every row that passed the checks"),
        (PlanSection(minutes=2), 80, "what 2 minutes are estimated to hold at 3 epochs"),
        (PlanSection(minutes=2, num_examples=79), 79, "as plan.num_examples says"),
        (PlanSection(minutes=2, num_examples=80), 80, "as plan.num_examples says"),
        (PlanSection(minutes=900), 500, "every row that passed the checks"),
    ],
)
def test_the_bound_that_binds_is_the_one_that_is_told(section: PlanSection, number: int, told: str) -> None:
    """Two minutes at half a second a row and three epochs hold 120 / 1.5 = 80 rows."""
    found, reason = choose_num_examples(section, available=500, seconds_an_epoch_row=0.5, epochs=3)

    assert (found, reason.value, reason.reason) == (number, str(number), told)


@given(
    available=st.integers(1, 1000),
    wanted=st.none() | st.integers(1, 1000),
    minutes=st.none() | st.floats(1, 100),
    seconds=st.floats(0.001, 1),
    epochs=st.integers(1, 5),
)
def test_no_bound_on_rows_is_ever_passed(
    available: int, wanted: int | None, minutes: float | None, seconds: float, epochs: int
) -> None:
    wanted = None if wanted is None else min(wanted, available)
    section = PlanSection(num_examples=wanted, minutes=minutes)
    found, _ = choose_num_examples(section, available=available, seconds_an_epoch_row=seconds, epochs=epochs)

    assert 1 <= found <= available
    assert wanted is None or found <= wanted
    assert minutes is None or found * epochs * seconds <= 60 * minutes * (1 + 1e-9)
    one_more = found + 1
    assert (
        one_more > available
        or (wanted is not None and one_more > wanted)
        or (minutes is not None and one_more * epochs * seconds > 60 * minutes * (1 - 1e-9))
    ), "nor is a row left out without need"


@given(num_steps=st.integers(1, 500), times=st.integers(1, 60))
def test_something_that_happens_so_often_happens_at_the_end_and_not_more_often(num_steps: int, times: int) -> None:
    every = count_every(num_steps, times)
    happened = {step for step in range(1, num_steps + 1) if step % every == 0 or step == num_steps}

    assert num_steps in happened
    assert len(happened) <= max(times, 1)


# Which rows.


def make_encoded_rows(num_rows: int) -> list[EncodedRow]:
    return [make_encoded([1, 2, number], name=f"row-{number}") for number in range(num_rows)]


def test_a_ranking_is_kept_and_rows_that_it_does_not_name_are_left_out() -> None:
    rows = make_encoded_rows(5)

    ordered = order_examples(rows, ranking=["row-3", "gone", "row-0", "row-4"], seed=0)

    assert [row.id for row in ordered] == ["row-3", "row-0", "row-4"]


def test_the_pieces_of_a_cut_row_stand_where_the_row_is_ranked() -> None:
    rows = [make_encoded([1], name=name) for name in ("long#1", "long#2", "short", "odd#name", "other#1")]

    ordered = order_examples(rows, ranking=["short", "long", "odd#name"], seed=0)

    assert [row.id for row in ordered] == ["short", "long#1", "long#2", "odd#name"]


def test_asking_for_more_rows_than_there_are_is_refused_with_the_number_that_is_there() -> None:
    with pytest.raises(PlanError) as caught:
        choose_num_examples(PlanSection(num_examples=9000), available=500, seconds_an_epoch_row=0.5, epochs=3)

    problem = caught.value.problems[0]
    assert (problem.code, problem.field, problem.got) == ("E-PLN-007", "plan.num_examples", "9000")
    assert (problem.allowed, problem.fix) == ("up to 500", "--set plan.num_examples=500")


def test_without_a_ranking_rows_are_drawn_by_seed_whatever_their_order() -> None:
    rows = make_encoded_rows(40)
    first = [row.id for row in order_examples(rows, ranking=None, seed=1)]

    assert first == [row.id for row in order_examples(rows[::-1], ranking=None, seed=1)]
    assert first != [row.id for row in order_examples(rows, ranking=None, seed=2)]
    assert sorted(first) == sorted(row.id for row in rows)


def test_probes_are_held_out_rows_first_and_fixed_ones_fill_what_is_missing() -> None:
    held_out = [make_row(f"question {number}", "yes") for number in range(4)]
    fixed = [make_row(f"fixed {number}", "yes") for number in range(3)]

    few = pick_probes(held_out, fixed, wanted=2, seed=0)
    many = pick_probes(held_out, fixed, wanted=6, seed=0)
    assert len(few) == 2
    assert many[:2] == few, "more probes begin with fewer"
    assert all(row in held_out for row in many[:4])
    assert list(many[4:]) == fixed[:2]
    assert len(pick_probes(held_out, fixed, wanted=99, seed=0)) == 7
    assert pick_probes([], [], wanted=9, seed=0) == ()


# What does not fit.


def refuse(limit: int, alternatives: dict[str, dict[str, int]]) -> PlanError:
    parts = {"weights": 3 * GIBIBYTE, "activations": 5 * GIBIBYTE}
    return explain_over_budget(parts, limit=(limit, "what is free on this machine"), alternatives=alternatives)


def test_a_run_too_large_names_its_largest_part_and_the_first_change_that_fits() -> None:
    error = refuse(
        4 * GIBIBYTE,
        {
            "train.max_length=256": {"weights": 3 * GIBIBYTE, "activations": 2 * GIBIBYTE},
            "train.max_length=128": {"weights": 3 * GIBIBYTE, "activations": GIBIBYTE},
            "train.max_length=64": {"weights": 3 * GIBIBYTE, "activations": 0},
        },
    )
    (problem,) = error.problems

    assert problem.code == "E-PLN-001"
    assert problem.got == "8.00 GiB at the peak, most of it activations (5.00 GiB)"
    assert problem.needs == "at most 4.00 GiB"
    assert problem.fix == "--set train.max_length=128", "exactly what fits, and nothing smaller than needed"
    assert problem.origin == "what is free on this machine"
    assert problem.allowed == "any of: train.max_length=256, train.max_length=128, train.max_length=64"


def test_where_nothing_fits_the_smallest_need_is_named() -> None:
    (problem,) = refuse(GIBIBYTE, {"train.method=lora": {"weights": 2 * GIBIBYTE}}).problems
    assert problem.fix == "a smaller base, or a machine with 2.00 GiB free"

    (problem,) = refuse(GIBIBYTE, {}).problems
    assert problem.fix == "a smaller base, or a machine with 8.00 GiB free"


# The machine.


def test_a_machine_without_process_files_is_asked_through_the_system(tmp_path: Path) -> None:
    found = find_hardware(proc=tmp_path / "none", cgroup=tmp_path / "none")

    assert found.memory_bytes == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert found.available_bytes == found.memory_bytes
    assert found.processor
    assert not found.has_fast_bf16
    assert found.describe()["device"] == "cpu"


def test_processors_are_those_that_the_scheduler_lets_us_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3}, raising=False)
    assert count_cores() == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert count_cores() == 1


@pytest.mark.parametrize(("flags", "is_fast"), [("fpu avx2", False), ("fpu amx_bf16", True), ("avx512_bf16 sse", True)])
def test_native_half_products_are_read_from_the_processors_flags(tmp_path: Path, flags: str, is_fast: bool) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nmodel name\t: Made Up 9000\nflags\t\t: {flags}\n")
    (tmp_path / "meminfo").write_text("MemTotal:  2048 kB\nMemAvailable:  1024 kB\n")

    found = find_hardware(proc=tmp_path, cgroup=tmp_path / "none")

    assert (found.has_fast_bf16, found.processor) == (is_fast, "Made Up 9000")
    assert (found.memory_bytes, found.available_bytes) == (2048 * 1024, 1024 * 1024)


def test_a_container_that_used_more_than_its_limit_has_nothing_left(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:  8388608 kB\nMemAvailable:  4194304 kB\n")
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("1000\n")
    (tmp_path / "memory" / "memory.usage_in_bytes").write_text("1500\n")

    found = find_hardware(proc=tmp_path, cgroup=tmp_path)

    assert (found.memory_bytes, found.available_bytes) == (1000, 0)


def test_each_precision_has_its_own_measured_rate_and_twice_the_speed_halves_the_time() -> None:
    speed = MachineSpeed(fp32_gflops=100.0, bf16_gflops=250.0, best="bf16")

    assert (speed.rate("fp32"), speed.rate("bf16")) == (100.0, 250.0)
    once, twice = (estimate_seconds(1e12, gigaflops=rate, efficiency=0.5) for rate in (100.0, 200.0))
    assert once == pytest.approx(2 * twice)
