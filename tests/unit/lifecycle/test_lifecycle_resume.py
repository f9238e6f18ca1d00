"""``train --resume`` takes up what was begun with this very recipe, and refuses to begin anything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from luthier.foundation.core.errors import RecipeError, TrainError
from luthier.foundation.recipe.resolve import ResolvedRecipe
from luthier.lifecycle.resume import require_started
from tests.fixtures.fake_stages import Bench, open_quick_folder


@pytest.fixture
def bench() -> Iterator[Bench]:
    with open_quick_folder() as folder:
        yield Bench(folder)


def require(bench: Bench) -> None:
    resolved = ResolvedRecipe(bench.recipe, {"name": "recipe.yaml line 1"}, bench.root, "recipe.yaml")
    require_started(bench.run("plan"), resolved, bench.workspace, stages=bench.stages, load=bench.load)


def break_down(*_: Any) -> None:
    raise TrainError("E-TRN-001", "the loss is not a number", fix="--set train.learning_rate=1e-4")


def test_a_run_that_broke_off_may_be_resumed(bench: Bench) -> None:
    make = bench.modules["train"].make
    bench.modules["train"].make = break_down
    with pytest.raises(TrainError):
        bench.run("train")
    require(bench)
    bench.modules["train"].make = make
    assert not bench.run("train").stages[-1].reused


def test_a_run_that_is_finished_may_be_asked_for_again(bench: Bench) -> None:
    bench.run("train")
    require(bench)
    assert bench.run("train").stages[-1].reused


def test_where_nothing_was_begun_there_is_nothing_to_resume_and_nothing_is_trained(bench: Bench) -> None:
    with pytest.raises(RecipeError) as caught:
        require(bench)
    (problem,) = caught.value.problems
    assert problem.code == "E-LIF-009"
    assert "begun were none" in problem.got
    assert problem.origin == str(bench.root)
    assert problem.allowed
    assert problem.fix == "luthier train RECIPE"
    assert caught.value.exit_code == 2
    assert bench.modules["train"].num_runs == 0


def test_a_run_of_other_rows_is_named_but_not_taken_up(bench: Bench) -> None:
    begun = bench.run("train").stages[-1].cache_key[:12]
    (bench.root / "rows.txt").write_text("one\ntwo\nthrew\n")
    with pytest.raises(RecipeError, match=begun):
        require(bench)
    assert bench.modules["train"].num_runs == 1
