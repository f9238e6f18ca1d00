"""Methods and objectives: every cell runs, or is refused in the recipe with a code and a fix."""

from __future__ import annotations

from typing import Any

import pytest

from luthier.foundation.core.errors import RecipeError
from luthier.foundation.recipe.resolve import load_recipe
from luthier.foundation.registry import TABLES

REFUSED = {("full", "dpo")}


def load(method: str, objective: str) -> Any:
    train = {"method": method, "objective": objective}
    plain = {"luthier": 1, "name": "cell", "data": {"sources": [{"path": "rows.jsonl"}]}, "train": train}
    return load_recipe(plain, environment={})


@pytest.mark.parametrize("method", TABLES["methods"].rows)
@pytest.mark.parametrize("objective", TABLES["objectives"].rows)
def test_a_cell_loads_or_is_refused_with_a_fix(method: str, objective: str) -> None:
    if (method, objective) not in REFUSED:
        assert load(method, objective).recipe.train.objective.type == objective
        return
    with pytest.raises(RecipeError) as caught:
        load(method, objective)
    problem = caught.value.problems[0]
    assert (problem.code, problem.field, problem.fix) == ("E-REC-008", "train.method", "train.method: lora")
    assert f"method {method}, objective {objective}" in problem.got
    assert "overwrites" in problem.what


def test_smoothing_is_refused_under_another_loss() -> None:
    plain = {
        "luthier": 1,
        "name": "cell",
        "data": {"sources": [{"path": "rows.jsonl"}]},
        "train": {"objective": {"type": "dpo", "loss_type": "hinge", "label_smoothing": 0.1}},
    }
    with pytest.raises(RecipeError, match="label_smoothing belongs to loss_type sigmoid"):
        load_recipe(plain, environment={})
