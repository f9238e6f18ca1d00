"""Stage 4: rows, base and plan in; trained files, their probe scores and their curve out. Read ``loop.py`` first."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from typing import Final

from luthier.foundation import registry
from luthier.foundation.core.hashing import sha256_json
from luthier.foundation.schema.dataset import DatasetVersion
from luthier.foundation.schema.model import ModelChoice
from luthier.foundation.schema.plan import Plan
from luthier.foundation.schema.protocols import AnyRecord, Context
from luthier.foundation.schema.run import Run, RunIdentity, RunWitness
from luthier.foundation.schema.sections import TrainSection
from luthier.stages.train.declaration import VERSION as VERSION
from luthier.stages.train.interrupt import Interrupts
from luthier.stages.train.job import Job, Outcome, ProbeScore
from luthier.stages.train.metrics import METRICS_NAME
from luthier.stages.train.prepare import prepare_job

BACKEND: Final = "luthier"


def run(section: TrainSection, inputs: Mapping[str, AnyRecord], ctx: Context) -> Run:  # noqa: ARG001  one shape of all stages
    """Train what the plan says, going on from what lies in the stage's folder.

    Args:
        section: Not read: every number that it led to is in the plan.
        inputs: ``data``, ``model`` and ``plan``.
        ctx: What lifecycle hands over.

    Raises:
        TrainError: E-TRN-001 to E-TRN-008.
        DataError: When a row cannot be rendered as it was planned.
        ModelError: When the base or its tokenizer cannot be loaded.
        Interrupted: E-TRN-003 after Ctrl-C or SIGTERM; what was trained is saved.
    """
    data, model, plan = inputs["data"], inputs["model"], inputs["plan"]
    if not (isinstance(data, DatasetVersion) and isinstance(model, ModelChoice) and isinstance(plan, Plan)):
        raise TypeError(type(plan))
    if plan.identity.backend != BACKEND:
        registry.get_row("backends", plan.identity.backend)
    started = ctx.clock.monotonic()
    launcher = registry.load_runtime("launchers", plan.identity.launcher)
    with Interrupts() as interrupts:
        job = prepare_job(data, model, plan, ctx)
        interrupts.raise_if_received(state="no step had been made in this attempt")
        outcome: Outcome = launcher.run(job, ctx, interrupts)
    return record_run(job, outcome, inputs, ctx=ctx, seconds=ctx.clock.monotonic() - started)


def record_run(job: Job, outcome: Outcome, inputs: Mapping[str, AnyRecord], *, ctx: Context, seconds: float) -> Run:
    """Store what was made and return its record."""
    files = {
        path.relative_to(outcome.files).as_posix(): ctx.blobs.put_file(path)
        for path in sorted(outcome.files.rglob("*"))
        if path.is_file()
    }
    curve = outcome.curve
    return Run(
        identity=RunIdentity(
            parents={name: inputs[name].digest for name in ("data", "model", "plan")},
            weights=sha256_json(files),
            files=files,
            method=job.plan.method,
            base=job.base_digest,
            probe_scores=store_probes(outcome.probes, ctx),
            num_steps=job.plan.num_steps,
            best_step=curve.best_step,
            train_loss=curve.train_loss,
            validation_loss=curve.validation_loss,
        ),
        witness=RunWitness(
            run_id=ctx.cache_key[:12],
            seconds=seconds,
            rate_tokens_per_second=curve.rate_tokens_per_second,
            peak_memory_bytes=outcome.peak_memory_bytes,
            num_resumes=curve.num_resumes,
            host=platform.node(),
            metrics=ctx.blobs.put_file(ctx.folder / METRICS_NAME),
        ),
    )


def store_probes(probes: Sequence[ProbeScore], ctx: Context) -> str:
    """Store one line a probe: id, token ids and, for each after the first, log-probability, best token and lead."""
    return ctx.blobs.put_lines(
        {
            "id": probe.row.id,
            "token_ids": probe.row.token_ids_T.tolist(),
            "logps": probe.logps_M.tolist(),
            "best_ids": probe.best_ids_M.tolist(),
            "gaps": probe.gaps_M.tolist(),
        }
        for probe in probes
    )
