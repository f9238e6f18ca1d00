"""Two models on preference pairs: what `retune` compares a dpo release and its next run by."""

from __future__ import annotations

from pathlib import Path

import pytest

from luthier.api.compare import Comparing, compare_preferences
from luthier.foundation.core.errors import EvalError, RecipeError
from luthier.foundation.schema.rows import Message, Row
from luthier.stages.monitor.retune import Question, find_question
from tests.fixtures.tiny_models import build_tiny


def make_pairs(num_pairs: int, *, is_flipped: bool = False) -> list[Row]:
    answers = [(Message(role="assistant", content="card"),), (Message(role="assistant", content="balance"),)]
    chosen, rejected = reversed(answers) if is_flipped else answers
    return [
        Row(
            id=f"p{number}",
            kind="preference",
            messages=(Message(role="user", content=f"question {number}"),),
            chosen=chosen,
            rejected=rejected,
        )
        for number in range(num_pairs)
    ]


def test_a_model_against_itself_shows_nothing_and_flipped_pairs_turn_its_sides(tmp_path: Path) -> None:
    folder = str(build_tiny("llama", tmp_path / "tiny"))
    found = compare_preferences(folder, folder, make_pairs(6), workspace=tmp_path)
    assert [(item["metric"], item["value"], item["p"]) for item in found["differences"]] == [("pair_likelihood", 0, 1)]
    turned = compare_preferences(folder, folder, make_pairs(6, is_flipped=True), workspace=tmp_path)
    assert turned["values"][0]["value"] == pytest.approx(1 - found["values"][0]["value"])
    for name, answer in found["answers"].items():
        assert float(answer["first"]) == pytest.approx(-float(turned["answers"][name]["first"]), rel=1e-3)


def test_an_address_weighs_nothing_and_answers_metrics_fit_no_pair(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        compare_preferences("http://h/v1#m", "http://h/v1#n", make_pairs(1), workspace=tmp_path)
    assert caught.value.code == "E-LIF-011"
    folder = str(build_tiny("llama", tmp_path / "tiny"))
    with pytest.raises(EvalError) as refused:
        compare_preferences(
            folder, folder, make_pairs(1), workspace=tmp_path, comparing=Comparing(metrics=["pair_accuracy"])
        )
    assert refused.value.code == "E-EVA-009", "it needs the gain over a base, and two models may share none"


def test_a_recipe_of_pairs_is_compared_on_its_pairs_and_one_of_neither_not_at_all() -> None:
    forgetting = {"type": "forgetting"}
    pairs = {"type": "preference", "on": "validation", "max_questions": 40}
    assert find_question({"evaluate": {"suites": [forgetting, pairs]}}) == Question(
        "validation", ("pair_likelihood",), 40, 0, "preference"
    )
    assert find_question({"evaluate": {"suites": [forgetting]}}) is None
