"""From records to a job: the rows that the plan names, what validates and what certifies, rendered once more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from luthier.foundation import registry
from luthier.foundation.core.errors import TrainError
from luthier.foundation.schema.dataset import DatasetVersion
from luthier.foundation.schema.model import ModelChoice
from luthier.foundation.schema.plan import Plan
from luthier.foundation.schema.protocols import Context
from luthier.instruments.text.encode import EncodedRow
from luthier.instruments.text.fit import fit_rows
from luthier.instruments.text.pairs import Example
from luthier.instruments.text.tokens import TextTokenizer, load_tokenizer
from luthier.stages.train.job import Job, Objective

Encoder = tuple[Objective, Any, TextTokenizer]
"""An objective, its options and the tokenizer: what rows are encoded with."""


def prepare_job(data: DatasetVersion, model: ModelChoice, plan: Plan, ctx: Context) -> Job:
    """Render the rows that the plan names, the validation rows and the probes."""
    options = dict(plan.identity.objective)
    name = options.pop("type")
    objective: Objective = registry.load_runtime("objectives", name)
    config = registry.load_config("objectives", name).model_validate(options)
    template = ctx.blobs.get(model.identity.chat_template).decode()
    tokenizer = load_tokenizer(Path(model.witness.path), chat_template=template or None)
    return Job(
        plan=plan.identity,
        run_key=ctx.cache_key,
        model_folder=Path(model.witness.path),
        base_name=model.identity.name,
        base_digest=model.identity.weights,
        folder=ctx.folder,
        objective=objective,
        objective_config=config,
        rows=encode_planned_rows(data, plan, (objective, config, tokenizer), ctx),
        validation_rows=encode_validation_rows(data, plan, (objective, config, tokenizer), ctx),
        probes=encode_probes(plan, tokenizer, ctx),
    )


def encode_planned_rows(data: DatasetVersion, plan: Plan, encoder: Encoder, ctx: Context) -> tuple[Example, ...]:
    """Encode exactly the training rows that the plan names, in its order.

    Raises:
        DataError: When a row cannot be encoded.
        TrainError: E-TRN-008 when a row that was planned is not there.
    """
    objective, config, tokenizer = encoder
    wanted = [str(line["id"]) for line in ctx.blobs.get_lines(plan.identity.examples)]
    sources = {*wanted, *(name.rpartition("#")[0] for name in wanted)}  # a split row's pieces are named <id>#<number>
    rows = (row for row in ctx.blobs.get_rows(data.identity.splits["train"].blob) if row.id in sources)
    with ctx.progress.task("render rows", total=len(wanted), unit="rows") as bar:
        fitted = objective.encode(rows, tokenizer, config=config, plan=plan.identity, on_row=bar.advance)
    fitted.encoded.raise_problems()
    by_id = {row.id: row for row in fitted.encoded.rows}
    missing = [name for name in wanted if name not in by_id]
    if missing:
        raise TrainError(
            "E-TRN-008",
            "a row that was planned is not among the training rows",
            got=f"{len(missing)} missing, first {missing[0]!r}",
            allowed=f"the {len(wanted)} rows of the plan",
            fix="luthier run RECIPE --until plan",
        )
    return tuple(by_id[name] for name in wanted)


def encode_validation_rows(data: DatasetVersion, plan: Plan, encoder: Encoder, ctx: Context) -> tuple[Example, ...]:
    """Encode the validation rows where the plan validates; those that cannot be scored are left out, aloud.

    Raises:
        TrainError: E-TRN-007 when the plan validates and no row is left.
    """
    objective, config, tokenizer = encoder
    if plan.identity.evaluate_every == 0:
        return ()
    split = data.identity.splits.get("validation")
    rows = list(ctx.blobs.get_rows(split.blob)) if split else []
    lenient = plan.identity.model_copy(update={"too_long": "drop"})
    fitted = objective.encode(rows, tokenizer, config=config, plan=lenient)
    num_left_out = len(fitted.dropped) + fitted.encoded.num_bad
    if num_left_out:
        ctx.progress.say(f"{num_left_out} of {len(rows)} validation rows cannot be scored and are left out")
    if not fitted.encoded.rows:
        raise TrainError(
            "E-TRN-007",
            "the plan validates, but there is no validation row to score",
            got=f"{len(rows)} rows in the split, {num_left_out} left out",
            allowed="at least one row",
            fix="--set train.evaluations=0",
            field="data.split.validation",
        )
    return fitted.encoded.rows


def encode_probes(plan: Plan, tokenizer: TextTokenizer, ctx: Context) -> tuple[EncodedRow, ...]:
    """Encode the probes so that every token after the first is scored, prompt and answer alike.

    What a probe says does not depend on the objective: all are conversations or texts.
    """
    rows = list(ctx.blobs.get_rows(plan.identity.probes))
    fitted = fit_rows(rows, tokenizer, train_on="assistant", max_length=plan.identity.max_length, too_long="drop")
    probes = fitted.encoded.rows
    if len(probes) < len(rows):
        ctx.progress.say(f"{len(rows) - len(probes)} of {len(rows)} probes cannot be scored and are left out")
    return tuple(replace(row, weights_T=_all_but_first(len(row.token_ids_T))) for row in probes)


def _all_but_first(length: int) -> np.ndarray:
    weights_T = np.ones(length, dtype=np.float32)
    weights_T[0] = 0.0
    return weights_T
