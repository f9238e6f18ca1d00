"""The suite of pairs: both answers weighed, ties honest, one yardstick for both systems."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from luthier.foundation.core.errors import EvalError
from luthier.foundation.registry import load_config, load_runtime
from luthier.foundation.schema.rows import Message, Row
from luthier.foundation.schema.sections import EvaluateSection, Gate
from luthier.instruments.text.pairs import encode_pair
from luthier.instruments.text.tokens import TextTokenizer, load_tokenizer
from luthier.stages.evaluate import stage
from luthier.stages.evaluate.compare import score_suite
from luthier.stages.evaluate.gates import judge_gate
from luthier.stages.evaluate.harness import Answer
from luthier.stages.evaluate.machine import EngineMachine
from luthier.stages.evaluate.suite import PlannedSuite, Prompt, Source
from luthier.stages.evaluate.suites.preference.config import Config
from luthier.stages.evaluate.suites.preference.suite import PLUGIN
from tests.fixtures.tiny_models import build_tiny
from tests.fixtures.train_jobs import FolderContext
from tests.unit.stages.evaluate.test_evaluate_stage import _inputs as make_inputs


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny("llama", tmp_path_factory.mktemp("base"), seed=1)


@pytest.fixture(scope="module")
def tokenizer(base: Path) -> TextTokenizer:
    return load_tokenizer(base)


def make_rows(num_rows: int) -> list[Row]:
    return [
        Row(
            id=f"pair-{index}",
            kind="preference",
            messages=(Message(role="user", content=f"question {index // 2}"),),
            chosen=(Message(role="assistant", content=f"good {index}"),),
            rejected=(Message(role="assistant", content="bad " * (1 + index % 3)),),
            group=f"group-{index // 2}",
        )
        for index in range(num_rows)
    ]


def make_source(
    rows: Sequence[Row], tokenizer: TextTokenizer, *, said: list[str] | None = None, **changes: Any
) -> Source:
    def read(name: str) -> Iterator[Row]:
        assert name == "test"
        return iter(rows)

    source = Source(
        rows=read,
        sample=lambda *_: [],
        tokenizer=tokenizer,
        systems=("base", "tuned"),
        max_positions=512,
        seed=0,
        say=(said if said is not None else []).append,
    )
    return replace(source, **changes)


def test_pairs_that_are_not_drawn_are_never_held_together(tokenizer: TextTokenizer) -> None:
    alive: weakref.WeakValueDictionary[str, Row] = weakref.WeakValueDictionary()
    most = 0

    def read(_: str) -> Iterator[Row]:
        nonlocal most
        for index in range(100):
            (row,) = make_rows(index + 1)[-1:]
            alive[row.id] = row
            most = max(most, len(alive))
            yield row

    source = replace(make_source([], tokenizer), rows=read)
    found = PLUGIN.gather(Config(name="preference", on="test", max_questions=4), source)
    whole = PLUGIN.gather(Config(name="preference", on="test", max_questions=4), make_source(make_rows(100), tokenizer))
    assert [prompt.id for prompt in found] == [prompt.id for prompt in whole]
    assert most <= 3, "the row that is read, and at most one that is let go"


def score(leads: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Score made-up leads of base and tuned, each pair a cluster of its own; by metric."""
    prompts = tuple(
        Prompt(f"p{i}", f"p{i}", f"p{i}", (), Message(role="assistant", content="x"), {"": np.array([1])})
        for i in range(len(leads["base"]))
    )
    planned = PlannedSuite("preference", PLUGIN, Config(name="preference"), prompts, ("base", "tuned"))
    answers = {
        ("preference", system): {
            prompt.id: Answer(nats=50.0, other_nats=50.0 + lead) for prompt, lead in zip(prompts, own, strict=True)
        }
        for system, own in leads.items()
    }
    return {one.name: one for one in score_suite(planned, answers, call_style="none", seed=0)}


def test_the_machine_weighs_the_answers_alone_and_both_of_them(base: Path, tokenizer: TextTokenizer) -> None:
    """Oracle: transformers' own loss, whose labels are the answer's tokens, times their number."""
    import torch
    from transformers import AutoModelForCausalLM

    pairs = [encode_pair(row, tokenizer) for row in make_rows(5)]
    machine = EngineMachine(base, tokenizer)
    (batch,) = machine.plan(pairs, 0)
    (answers,) = machine.answer(pairs, 0, [0])
    model = AutoModelForCausalLM.from_pretrained(base)
    for place, answer in zip(batch, answers, strict=True):
        for sequence, found in zip(pairs[place].sequences, (answer.nats, answer.other_nats), strict=True):
            ids = torch.from_numpy(sequence.token_ids_T.astype(np.int64))[None]
            labels = ids.masked_fill(torch.from_numpy(sequence.weights_T == 0)[None], -100)
            with torch.no_grad():
                mean = float(model(input_ids=ids, labels=labels).loss)
            assert found == pytest.approx(mean * sequence.num_trained, rel=1e-5)
        assert answer.lead == pytest.approx(answer.other_nats - answer.nats)


def test_accuracy_is_by_the_gain_over_the_base_and_likelihood_by_the_system_itself() -> None:
    """Four pairs by hand. Gains: +1, -1, +4, 0 (a tie): 1 + 0 + 1 + 0.5 of 4. Own leads, base: 1, 0, 0, 1 of 4."""
    scored = score({"base": [2.0, -3.0, -3.0, 1.0], "tuned": [3.0, -4.0, 1.0, 1.0]})
    accuracy, likelihood = scored["preference.pair_accuracy"], scored["preference.pair_likelihood"]
    assert accuracy.scores["tuned"] == {"p0": 1.0, "p1": 0.0, "p2": 1.0, "p3": 0.5}
    assert set(accuracy.scores["base"].values()) == {0.5}, "to the base every pair is a tie"
    assert list(likelihood.scores["base"].values()) == [1.0, 0.0, 0.0, 1.0]
    assert list(likelihood.scores["tuned"].values()) == [1.0, 0.0, 1.0, 1.0]
    assert accuracy.compare("base", "tuned").value == pytest.approx(2.5 / 4 - 0.5)
    assert likelihood.compare("base", "tuned").value == pytest.approx(0.25)


def test_a_length_bias_of_the_base_wins_nothing() -> None:
    """A base that is wrong on nine pairs of ten, and a tuned model that gains at random: no better than a coin."""
    random = np.random.default_rng(0)
    base = np.where(np.arange(200) % 10 == 0, 5.0, -5.0)
    gains = random.permutation(np.repeat([-0.1, 0.1], 100))
    scored = score({"base": base.tolist(), "tuned": (base + gains).tolist()})
    gate = Gate(metric="preference.pair_accuracy", above="base")
    verdict = judge_gate(gate, scored["preference.pair_accuracy"])
    assert verdict.value == 0.0
    assert verdict.verdict == "INCONCLUSIVE"


@pytest.mark.parametrize(("num_right", "expected"), [(60, "PASS"), (40, "FAIL")])
def test_a_gate_above_the_base_is_the_sign_test(num_right: int, expected: str) -> None:
    """The gate's p against scipy's exact binomial test of right against wrong pairs."""
    gains = [1.0] * num_right + [-1.0] * (100 - num_right)
    scored = score({"base": [0.3] * 100, "tuned": [0.3 + gain for gain in gains]})
    verdict = judge_gate(Gate(metric="preference.pair_accuracy", above="base"), scored["preference.pair_accuracy"])
    exact = binomtest(num_right, 100, 0.5, alternative="greater").pvalue
    assert verdict.verdict == expected
    assert verdict.p == pytest.approx(exact, abs=0.01)


def test_an_open_question_says_how_many_pairs_would_settle_it() -> None:
    """54 of 100 right: by hand (z_0.95 + z_0.8)^2 x 0.25 x (1 - 0.08^2) / 0.04^2 = 6.18 x 0.2484 / 0.0016 = 960."""
    gains = [1.0] * 54 + [-1.0] * 46
    scored = score({"base": [0.0] * 100, "tuned": gains})
    verdict = judge_gate(Gate(metric="preference.pair_accuracy", above="base"), scored["preference.pair_accuracy"])
    assert verdict.verdict == "INCONCLUSIVE"
    assert verdict.needed == pytest.approx(970, rel=0.03)
    assert "would settle it" in verdict.reason


def test_pairs_are_questions_with_their_group_as_cluster(tokenizer: TextTokenizer) -> None:
    prompts = PLUGIN.gather(Config(name="preference"), make_source(make_rows(6), tokenizer))
    assert [prompt.cluster for prompt in prompts] == ["group-0", "group-0", "group-1", "group-1", "group-2", "group-2"]
    assert all(prompt.asked_of("tuned") is prompt.pair for prompt in prompts)
    assert PLUGIN.systems(("base", "base_told", "tuned")) == ("base", "tuned")
    drawn = PLUGIN.gather(Config(name="preference", max_questions=3), make_source(make_rows(6), tokenizer))
    again = PLUGIN.gather(Config(name="preference", max_questions=3), make_source(make_rows(6)[::-1], tokenizer))
    assert {prompt.id for prompt in drawn} == {prompt.id for prompt in again}
    assert len(drawn) == 3


def test_what_cannot_be_asked_is_refused_with_a_fix(tokenizer: TextTokenizer) -> None:
    rows = make_rows(4)
    cases = {
        "E-EVA-010": make_source(rows, tokenizer, systems=("tuned",)),
        "E-EVA-004": make_source([Row(id="t", kind="text", text="x")], tokenizer),
        "E-EVA-001": make_source(rows, tokenizer, max_positions=20),
    }
    for code, source in cases.items():
        with pytest.raises(EvalError) as caught:
            PLUGIN.gather(Config(name="preference"), source)
        problem = caught.value.problems[0]
        assert problem.code == code
        assert problem.got
        assert problem.fix
        assert problem.field


def test_pairs_too_long_are_left_out_aloud_where_the_recipe_says_so(tokenizer: TextTokenizer) -> None:
    rows = make_rows(4)
    rows[1] = rows[1].model_copy(update={"chosen": (Message(role="assistant", content="long " * 100),)})
    said: list[str] = []
    source = make_source(rows, tokenizer, said=said, max_positions=100)
    assert len(PLUGIN.gather(Config(name="preference", too_long="drop"), source)) == 3
    assert "1 pairs of 'test'" in said[0]


def test_the_whole_stage_reports_both_metrics_and_repeats(base: Path, tmp_path: Path) -> None:
    ctx = FolderContext(tmp_path / "work")
    ctx.folder.mkdir()
    section = EvaluateSection.model_validate(
        {
            "suites": [{"type": "preference"}],
            "gates": [{"metric": "preference.pair_accuracy", "above": "base"}],
        }
    )
    inputs = make_inputs(ctx, base, make_rows(20))
    report = stage.run(section, inputs, ctx).identity
    values = {(value.metric, value.system): value for value in report.metrics}
    assert values["preference.pair_accuracy", "base"].value == 0.5
    tuned = values["preference.pair_accuracy", "tuned"]
    assert (tuned.n, tuned.clusters) == (20, 10)
    assert tuned.interval[0] <= tuned.value <= tuned.interval[1]
    assert math.isfinite(values["preference.pair_likelihood", "tuned"].value)
    assert report.gates[0].metric == "preference.pair_accuracy"
    (ctx.folder / "answers.jsonl").unlink()
    assert stage.run(section, inputs, ctx).identity == report


@pytest.mark.parametrize("name", ["pair_accuracy", "pair_likelihood"])
def test_questions_without_a_pair_do_not_count(name: str) -> None:
    from luthier.instruments.measure.metric import Item

    metric, config = load_runtime("metrics", name), load_config("metrics", name)()
    assert not metric.counts(Item(Message(role="assistant", content="x"), nats=1.0), config)
