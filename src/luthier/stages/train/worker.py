"""One training process: load the base, build the method, run the loop, score the probes, save what was trained.

Launchers decide where and how often this runs; what happens is always this.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import torch
from accelerate import Accelerator

from luthier.foundation import registry
from luthier.foundation.core.memory import read_peak_bytes
from luthier.foundation.core.seeds import derive_seed
from luthier.foundation.schema.protocols import Context
from luthier.instruments.engine.determinism import seed_everything
from luthier.instruments.engine.load import load_model
from luthier.instruments.engine.score import score_probes
from luthier.stages.train.interrupt import Interrupts
from luthier.stages.train.job import Job, Outcome, ProbeScore, Tuned
from luthier.stages.train.loop import train

FILES_NAME: Final = "trained"


def run_worker(job: Job, ctx: Context, interrupts: Interrupts) -> Outcome:
    """Train one job in this process.

    Raises:
        TrainError: As the loop does.
        ModelError: When the base cannot be loaded.
        Interrupted: E-TRN-003 after a signal; what was saved stays.
    """
    accelerator = Accelerator(mixed_precision="no")
    tuned = build(job, accelerator)
    interrupts.raise_if_received(state="nothing had been trained in this attempt")
    curve = train(job, tuned, accelerator, ctx=ctx, interrupts=interrupts)
    probes = score(job, tuned)
    files = save_files(job, tuned)
    interrupts.raise_if_received(state="every step is done and saved")
    return Outcome(curve, files, probes, peak_memory_bytes=measure_peak_memory())


def build(job: Job, accelerator: Accelerator) -> Tuned:
    """Load the base and make the plan's method of it, the same way in every attempt."""
    seed = derive_seed(job.plan.seed, "train", "method")
    seed_everything(seed)
    loaded = load_model(
        job.model_folder, device=str(accelerator.device), base_name=job.base_name, base_digest=job.base_digest
    )
    choice = dict(job.plan.method)
    name = choice.pop("type")
    method = registry.load_runtime("methods", name)
    method.build(loaded, registry.load_config("methods", name).model_validate(choice), seed=seed)
    loaded.checkpoint_layers(enabled=job.plan.gradient_checkpointing)
    return Tuned(loaded, method)


def score(job: Job, tuned: Tuned) -> tuple[ProbeScore, ...]:
    """Score the probes with the live model in fp32 and evaluation mode: what every later form must repeat."""
    scores = score_probes(tuned.loaded, job.probes, pack_tokens=job.plan.pack_tokens)
    return tuple(
        ProbeScore(row, score.logps_M, score.best_ids_M, score.gaps_M)
        for row, score in zip(job.probes, scores, strict=True)
    )


def save_files(job: Job, tuned: Tuned) -> Path:
    """Write the trained files into a folder of their own; one from a former attempt is replaced."""
    folder = job.folder / FILES_NAME
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tuned.method.save(tuned.loaded, folder)
    return folder


def measure_peak_memory() -> int:
    """Return the greatest memory of this process so far: of the accelerator where it has one.

    Units:
        Bytes.
    """
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return read_peak_bytes()
