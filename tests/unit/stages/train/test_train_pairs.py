"""The train stage on preferences: trained, validated and certified, and the same record wherever it runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from luthier.foundation.core.errors import TrainError
from luthier.foundation.schema.rows import Message, Row
from luthier.stages.train.metrics import read_metrics
from tests.fixtures.train_jobs import FolderContext
from tests.unit.stages.plan.test_plan_pairs import make_preferences
from tests.unit.stages.train.test_train_stage import base, make_inputs, reload_scores, run_stage  # noqa: F401  fixture

DPO = {"type": "dpo", "beta": 0.5}
LORA = {"type": "lora", "rank": 4}
LONG = Row(
    id="long",
    kind="preference",
    messages=(Message(role="user", content="word " * 300),),
    chosen=(Message(role="assistant", content="a"),),
    rejected=(Message(role="assistant", content="b"),),
)


def test_preferences_train_validate_and_are_certified(base: Path, tmp_path: Path) -> None:  # noqa: F811
    digests = set()
    for name in ("here", "there"):
        ctx = FolderContext(tmp_path / name)
        inputs = make_inputs(
            ctx,
            base,
            rows=make_preferences(10),
            validation=(*make_preferences(3, prefix="validation"), LONG),
            objective=DPO,
            method=LORA,
            learning_rate=0.02,
            epochs=4.0,
            evaluate_every=2,
        )
        run = run_stage(ctx, inputs)
        digests.add(run.digest)
        assert "1 of 4 validation rows" in ctx.said
    assert len(digests) == 1
    curve = list(read_metrics(ctx.folder / "metrics.jsonl"))
    assert curve[0]["loss"] == pytest.approx(0.6931, abs=1e-4)
    assert curve[-1]["reward_margin"] > 0.5
    assert run.identity.validation_loss == min(line["validation_loss"] for line in curve if "validation_loss" in line)
    (tmp_path / "files").mkdir()
    lines = list(ctx.blobs.get_lines(run.identity.probe_scores))
    assert len(lines) == 3
    for line, logps_M in zip(lines, reload_scores(run, ctx, base, tmp_path / "files"), strict=True):
        np.testing.assert_allclose(line["logps"], logps_M, atol=1e-6)


def test_a_plan_that_validates_without_a_pair_to_validate_on_is_refused(base: Path, tmp_path: Path) -> None:  # noqa: F811
    ctx = FolderContext(tmp_path)
    inputs = make_inputs(
        ctx, base, rows=make_preferences(6), validation=(LONG,), objective=DPO, method=LORA, evaluate_every=1
    )
    with pytest.raises(TrainError) as caught:
        run_stage(ctx, inputs)
    assert caught.value.code == "E-TRN-007"
