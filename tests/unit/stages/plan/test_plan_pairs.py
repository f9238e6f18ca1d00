"""The plan on preferences: pairs are counted whole, the base's pass is in the time, probes are conversations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from luthier.foundation.core.errors import DataError
from luthier.foundation.registry import load_config
from luthier.foundation.schema.plugins import MethodConfig, ObjectiveConfig
from luthier.foundation.schema.rows import Message, Origin, Row
from luthier.foundation.schema.sections import PlanSection, PluginChoice, TrainSection
from luthier.instruments.text.pairs import EncodedPair
from luthier.stages.plan import throughput
from luthier.stages.plan.draft import Cell, Examples, Machine, Scored, draft_run
from luthier.stages.plan.hyperparameters import choose_learning_rate
from luthier.stages.plan.machine_speed import Arithmetic, MachineSpeed
from luthier.stages.plan.packs import Room, prefer_pack_tokens
from luthier.stages.plan.throughput import Timer, count_pass
from tests.fixtures.pair_jobs import make_pair
from tests.unit.stages.plan.test_plan_numbers import SHAPE
from tests.unit.stages.plan.test_plan_stage import base, known_speed, make_plan  # noqa: F401  fixtures

SPEED = MachineSpeed(fp32_gflops=100.0, bf16_gflops=50.0, best="fp32")
DPO = PluginChoice(type="dpo")


def make_preferences(count: int, *, prefix: str = "pair") -> tuple[Row, ...]:
    return tuple(
        Row(
            id=f"{prefix}-{index}",
            kind="preference",
            messages=(Message(role="user", content=f"question {index} of some length"),),
            chosen=(Message(role="assistant", content=f"good {index}"),),
            rejected=(Message(role="assistant", content="bad"),),
            origin=Origin(file=f"{prefix}.jsonl", line=index + 1),
        )
        for index in range(count)
    )


NOTHING_SCORED = Scored()


def make_equal_pairs(count: int) -> list[EncodedPair]:
    """Pairs of a prompt of 80 tokens and two answers of 10: 180 written out, 100 with the prompt once."""
    return [
        make_pair([300 - i, *[7] * 79], list(range(10, 20)), list(range(30, 40)), name=f"p{i}") for i in range(count)
    ]


def draft(objective: ObjectiveConfig, pairs: list[EncodedPair], scored: Scored = NOTHING_SCORED, **train: Any) -> Any:
    method = load_config("methods", "lora").model_validate({"rank": 4})
    assert isinstance(method, MethodConfig)
    return draft_run(
        Examples(pairs, scored),
        PlanSection(precision="fp32"),
        TrainSection(epochs=1, batch_tokens=720, **train),
        cell=Cell(SHAPE, method, objective),
        machine=Machine(speed=SPEED, room=Room(limit_bytes=2**40, origin="test")),
        seed=0,
    )


def test_pairs_are_planned_whole_with_their_prompt_once_and_the_bases_pass_in_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """40 pairs of 180 tokens, 720 a step: 4 pairs each, 10 steps; 4,000 computed of 7,200; 20 trained a pair."""
    for name in ("SEQUENCE_SECONDS", "SHARED_TOKEN_SECONDS"):  # of a model this small they would be all that counts
        monkeypatch.setattr(throughput, name, 0.0)
    config = load_config("objectives", "dpo")
    assert issubclass(config, ObjectiveConfig)
    found = draft(config(), make_equal_pairs(40))
    assert (found.numbers["num_steps"], found.num_tokens, found.num_computed) == (10, 7200, 4000)
    assert found.num_trained == 40 * 20

    class Alone(config):  # type: ignore[valid-type, misc]
        NEEDS_REFERENCE = False

    alone = draft(Alone(), make_equal_pairs(40))
    # Of a LoRA step's 4 operations a weight and token the base's pass adds 2; attention and head keep it from 3/2.
    loading = Timer(SHAPE, 0, Arithmetic("fp32", 1.0)).load()
    assert 1.1 < (found.seconds - loading) / (alone.seconds - loading) < 1.5


def test_what_is_scored_beside_the_training_rows_takes_its_time() -> None:
    """A sample of 4 stands for 12 validation pairs, scored twice with the base's own pass; the probes once."""
    config = load_config("objectives", "dpo")
    assert issubclass(config, ObjectiveConfig)
    pairs = make_equal_pairs(46)
    training, sample, probes = pairs[:40], tuple(pairs[40:44]), tuple(pairs[44:])
    alone = draft(config(), training, evaluations=2)
    beside = draft(config(), training, Scored(sample, 12, probes), evaluations=2)

    timer = Timer(SHAPE, 0, SPEED.compute_in("fp32"))
    validating = 2 * 3 * timer.score(count_pass(sample), num_references=1)
    assert beside.seconds - alone.seconds == pytest.approx(validating + timer.score(count_pass(probes)))


def test_a_pack_holds_the_longest_pair_with_its_prompt_once() -> None:
    config = load_config("objectives", "dpo")
    long = make_pair(list(range(3, 303)) * 10, list(range(10, 20)), list(range(30, 40)))
    assert isinstance(config(), ObjectiveConfig)
    found = draft(config(), [long, *make_equal_pairs(3)])  # type: ignore[arg-type]
    assert found.pack.pack_tokens == 3020, "3,000 of prompt and two answers of 10, not 6,020"


def test_what_pairs_share_inside_does_not_make_packs_larger() -> None:
    """Sixteen pairs of 640 tokens share nothing with each other; their prompts alone would have asked for 4,096."""
    pairs = [make_pair([i] * 512, [1] * 64, [2] * 64) for i in range(3, 19)]
    step = [sequence.token_ids_T for pair in pairs for sequence in pair.sequences]
    assert prefer_pack_tokens([step]) == 4096
    assert prefer_pack_tokens([step], num_apart=16 * 640) == 1536
    assert prefer_pack_tokens([step], num_apart=16 * 640, is_paired=True) == 2560
    assert prefer_pack_tokens([step], num_apart=16 * 640, is_paired=True, precision="bf16") == 5120


def test_the_rate_of_preferences_is_a_tenth_of_the_methods() -> None:
    method = load_config("methods", "lora")()
    assert isinstance(method, MethodConfig)
    plain, _ = choose_learning_rate("auto", method, SHAPE)
    rate, reason = choose_learning_rate("auto", method, SHAPE, factor=0.1)
    assert rate == pytest.approx(plain / 10, rel=0.01)
    assert "times 0.1" in reason.reason
    assert choose_learning_rate(0.5, method, SHAPE, factor=0.1)[0] == 0.5


def test_the_stage_plans_preferences_and_certifies_with_conversations(base: Path, tmp_path: Path) -> None:  # noqa: F811
    plan, ctx = make_plan(tmp_path, base, rows=make_preferences(20), objective=DPO, plan=PlanSection(probes=4))
    assert plan.identity.num_examples == 20
    assert plan.identity.objective == {"type": "dpo"}
    assert len(list(ctx.blobs.get_lines(plan.identity.examples))) == 20
    assert {row.kind for row in ctx.blobs.get_rows(plan.identity.probes)} == {"conversation"}


def test_rows_without_two_answers_are_all_named(base: Path, tmp_path: Path) -> None:  # noqa: F811
    with pytest.raises(DataError) as caught:
        make_plan(tmp_path, base, objective=DPO)
    assert {problem.code for problem in caught.value.problems} == {"E-TXT-016", "E-DAT-009"}
