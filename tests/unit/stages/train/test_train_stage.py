"""The stage on a tiny base: records in, a Run out whose files, scores and digest repeat."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luthier.foundation.core.errors import DataError, Interrupted, RecipeError, TrainError
from luthier.foundation.core.hashing import sha256_json
from luthier.foundation.registry import load_runtime
from luthier.foundation.schema.dataset import RowSet
from luthier.foundation.schema.plan import Plan, PlanWitness
from luthier.foundation.schema.rows import Message, Row
from luthier.foundation.schema.run import Run
from luthier.foundation.schema.sections import TrainSection
from luthier.instruments.engine.load import load_model
from luthier.instruments.engine.score import score_probes
from luthier.instruments.text.encode import EncodedRow
from luthier.instruments.text.fit import fit_pairs, fit_rows
from luthier.instruments.text.tokens import load_tokenizer
from luthier.stages.train import loop, stage
from luthier.stages.train.metrics import read_metrics
from tests.fixtures.example_records import change, make_dataset_example, make_model_example
from tests.fixtures.tiny_models import CHAT_TEMPLATE, build_tiny
from tests.fixtures.tiny_task import make_task_rows
from tests.fixtures.train_jobs import FolderContext, make_plan

Inputs = dict[str, Any]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny("llama", tmp_path_factory.mktemp("base") / "model")


def make_inputs(
    ctx: FolderContext, base: Path, *, rows: tuple[Row, ...], validation: tuple[Row, ...] = (), **changes: Any
) -> Inputs:
    """Make the three records as data, model and plan would."""
    too_long, max_length = changes.get("too_long", "refuse"), changes.get("max_length", 512)
    fit = fit_pairs if rows[0].kind == "preference" else partial(fit_rows, train_on="assistant")
    encoded = fit(rows, load_tokenizer(base), max_length=max_length, too_long=too_long).encoded.rows
    splits = {
        name: RowSet(blob=ctx.blobs.put_rows(part), num_rows=len(part))
        for name, part in (("train", rows), ("validation", validation))
        if part
    }
    data = change(make_dataset_example(), identity={"splits": splits})
    template = ctx.blobs.put(CHAT_TEMPLATE.encode())
    model = change(make_model_example(), identity={"chat_template": template}, witness={"path": str(base)})
    plan = make_plan(
        encoded,
        **{
            "examples": ctx.blobs.put_lines({"id": row.id} for row in encoded),
            "probes": ctx.blobs.put_rows(make_task_rows(3, seed=5, prefix="probe")),
            "epochs": 1.0,
        }
        | changes,
    )
    return {"data": data, "model": model, "plan": Plan(identity=plan, witness=PlanWitness())}


def run_stage(ctx: FolderContext, inputs: Inputs) -> Run:
    return stage.run(TrainSection(), inputs, ctx)


def reload_scores(run: Run, ctx: FolderContext, base: Path, folder: Path) -> list[np.ndarray]:
    """Score the probes with a base of its own and the files that were stored."""
    for name, digest in run.identity.files.items():
        (folder / name).write_bytes(ctx.blobs.get(digest))
    loaded = load_model(base)
    load_runtime("methods", run.identity.method["type"]).load(loaded, folder, run.identity.base)
    rows = []
    for line in ctx.blobs.get_lines(run.identity.probe_scores):
        weights_T = np.ones(len(line["token_ids"]), dtype=np.float32)
        weights_T[0] = 0
        rows.append(EncodedRow(line["id"], np.array(line["token_ids"], dtype=np.int32), weights_T))
    return [scores.logps_M for scores in score_probes(loaded, rows, pack_tokens=512)]


@pytest.mark.parametrize("method", [{"type": "lora", "rank": 4}, {"type": "full"}])
def test_the_stored_files_score_the_probes_as_the_live_model_did(
    base: Path, tmp_path: Path, method: dict[str, Any]
) -> None:
    ctx = FolderContext(tmp_path)
    inputs = make_inputs(ctx, base, rows=make_task_rows(12, seed=0), method=method, learning_rate=0.01)
    run = run_stage(ctx, inputs)
    (tmp_path / "files").mkdir()
    lines = list(ctx.blobs.get_lines(run.identity.probe_scores))
    for line, logps_M in zip(lines, reload_scores(run, ctx, base, tmp_path / "files"), strict=True):
        assert len(line["logps"]) == len(line["token_ids"]) - 1 == len(line["best_ids"]) == len(line["gaps"])
        np.testing.assert_allclose(line["logps"], logps_M, atol=1e-6)
    assert run.identity.weights == sha256_json(run.identity.files)
    assert run.identity.parents == {name: inputs[name].digest for name in ("data", "model", "plan")}
    assert run.witness.run_id == ctx.cache_key[:12]
    assert run.witness.metrics is not None
    curve = [json.loads(line) for line in ctx.blobs.get(run.witness.metrics).decode().splitlines()]
    assert len(curve) == run.identity.num_steps


def test_two_runs_in_two_places_are_one_record(base: Path, tmp_path: Path) -> None:
    digests = set()
    for name in ("here", "there"):
        ctx = FolderContext(tmp_path / name)
        digests.add(run_stage(ctx, make_inputs(ctx, base, rows=make_task_rows(8, seed=0))).digest)
    assert len(digests) == 1


def test_a_row_that_differs_by_one_letter_gives_another_record(base: Path, tmp_path: Path) -> None:
    rows = make_task_rows(8, seed=0)
    changed = rows[0].model_copy(update={"messages": (Message(role="user", content="x"), rows[0].messages[1])})
    weights = set()
    for name, first in (("here", rows[0]), ("there", changed)):
        ctx = FolderContext(tmp_path / name)
        weights.add(run_stage(ctx, make_inputs(ctx, base, rows=(first, *rows[1:]))).identity.weights)
    assert len(weights) == 2


def test_recomputed_layers_cost_time_and_change_nothing(base: Path, tmp_path: Path) -> None:
    losses = []
    for is_recomputed in (False, True):
        ctx = FolderContext(tmp_path / str(is_recomputed))
        inputs = make_inputs(ctx, base, rows=make_task_rows(8, seed=0), gradient_checkpointing=is_recomputed)
        losses.append(run_stage(ctx, inputs).identity.train_loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_ctrl_c_in_the_stage_saves_and_going_on_gives_the_same_record(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = FolderContext(tmp_path / "whole")
    expected = run_stage(whole, make_inputs(whole, base, rows=make_task_rows(12, seed=0)))
    ctx = FolderContext(tmp_path / "cut")
    inputs = make_inputs(ctx, base, rows=make_task_rows(12, seed=0))
    update = loop.apply_update

    def signalled(run: Any) -> None:
        update(run)
        if run.step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "apply_update", signalled)
        with pytest.raises(Interrupted) as caught:
            run_stage(ctx, inputs)
    assert caught.value.exit_code == 130
    resumed = run_stage(ctx, inputs)
    assert resumed.identity == expected.identity
    assert resumed.witness.num_resumes == 1


def test_validation_keeps_the_best_and_unusable_rows_are_left_out_aloud(base: Path, tmp_path: Path) -> None:
    ctx = FolderContext(tmp_path)
    bad = Row(id="bad", messages=(Message(role="user", content="nobody answers"),))
    inputs = make_inputs(
        ctx, base, rows=make_task_rows(8, seed=0), validation=(*make_task_rows(3, seed=4), bad), evaluate_every=2
    )
    run = run_stage(ctx, inputs)
    losses = {
        e["step"]: e["validation_loss"] for e in read_metrics(tmp_path / "metrics.jsonl") if "validation_loss" in e
    }
    assert run.identity.validation_loss == min(losses.values())
    assert run.identity.best_step == min(losses, key=lambda step: losses[step])
    assert "1 of 4 validation rows cannot be scored" in ctx.said


def test_a_plan_that_validates_without_validation_rows_is_refused(base: Path, tmp_path: Path) -> None:
    ctx = FolderContext(tmp_path)
    with pytest.raises(TrainError) as caught:
        run_stage(ctx, make_inputs(ctx, base, rows=make_task_rows(4, seed=0), evaluate_every=2))
    problem = caught.value.problems[0]
    assert (problem.code, problem.fix) == ("E-TRN-007", "--set train.evaluations=0")
    assert problem.field == "data.split.validation"


def test_a_row_that_was_planned_and_is_gone_is_refused(base: Path, tmp_path: Path) -> None:
    ctx = FolderContext(tmp_path)
    inputs = make_inputs(ctx, base, rows=make_task_rows(4, seed=0), examples=ctx.blobs.put_lines([{"id": "ghost"}]))
    with pytest.raises(TrainError) as caught:
        run_stage(ctx, inputs)
    assert caught.value.code == "E-TRN-008"
    assert "ghost" in caught.value.problems[0].got


@pytest.mark.parametrize("too_long", ["drop", "split", "refuse"])
def test_rows_beyond_the_length_are_treated_as_planned(base: Path, tmp_path: Path, too_long: str) -> None:
    ctx = FolderContext(tmp_path)
    rows = make_task_rows(4, seed=0)
    long = Row(id="long", messages=tuple(message for row in rows for message in row.messages))
    if too_long == "refuse":
        inputs = make_inputs(ctx, base, rows=rows)
        planned = inputs["plan"].identity.model_copy(
            update={"max_length": 20, "examples": ctx.blobs.put_lines({"id": row.id} for row in rows)}
        )
        with pytest.raises(DataError, match="E-TXT-009"):
            run_stage(ctx, inputs | {"plan": Plan(identity=planned, witness=PlanWitness())})
        return
    inputs = make_inputs(ctx, base, rows=(*rows, long), too_long=too_long, max_length=80)
    planned_ids = [line["id"] for line in ctx.blobs.get_lines(inputs["plan"].identity.examples)]
    assert ("long#1" in planned_ids) == (too_long == "split")
    assert run_stage(ctx, inputs).identity.num_steps == inputs["plan"].identity.num_steps


def test_a_backend_that_is_not_built_is_refused_by_name(base: Path, tmp_path: Path) -> None:
    ctx = FolderContext(tmp_path)
    inputs = make_inputs(ctx, base, rows=make_task_rows(4, seed=0), backend="trl")
    with pytest.raises(RecipeError) as caught:
        run_stage(ctx, inputs)
    assert caught.value.code == "E-REC-011"


def test_probes_too_long_for_the_model_are_left_out_aloud(base: Path, tmp_path: Path) -> None:
    ctx = FolderContext(tmp_path)
    rows = make_task_rows(4, seed=0)
    probe = rows[0].model_copy(
        update={"id": "p", "messages": (Message(role="user", content="x " * 400), rows[0].messages[1])}
    )
    inputs = make_inputs(ctx, base, rows=rows, probes=ctx.blobs.put_rows([probe, rows[1]]), max_length=100)
    run = run_stage(ctx, inputs)
    assert "1 of 2 probes cannot be scored" in ctx.said
    assert [line["id"] for line in ctx.blobs.get_lines(run.identity.probe_scores)] == [rows[1].id]


def test_checkpoints_of_another_run_in_the_folder_are_refused(base: Path, tmp_path: Path) -> None:
    ctx = FolderContext(tmp_path)
    inputs = make_inputs(ctx, base, rows=make_task_rows(8, seed=0))
    run_stage(ctx, inputs)
    with pytest.raises(TrainError, match="E-TRN-004"):
        run_stage(replace(ctx, cache_key="d" * 64), inputs)
