"""Stage 7: what live traffic is compared with. Read :func:`run` first.

Deploy calls it with ``mode: reference`` for the reference that travels in a release; at the corridor's end it looks up
that reference again, sets the alarms at the recipe's false alarm rate and writes dashboards. It watches nothing itself:
``luthier monitor drift`` does, once something is deployed or served.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from luthier.foundation.core.errors import DataError, ModelError, RecipeError, StoreError
from luthier.foundation.core.files import write_atomic
from luthier.foundation.schema.dataset import DatasetVersion
from luthier.foundation.schema.model import ModelChoice
from luthier.foundation.schema.monitoring import MonitorIdentity, MonitorReference, MonitorWitness, WatchedSignal
from luthier.foundation.schema.protocols import AnyRecord, Context
from luthier.foundation.schema.release import Release
from luthier.foundation.schema.report import Report
from luthier.foundation.schema.rows import Row
from luthier.foundation.schema.sections import MonitorSection
from luthier.instruments.measure.stats.drift import HORIZON_DAYS
from luthier.instruments.text.static_embeddings import StaticEmbeddings, open_embeddings
from luthier.instruments.text.tokens import load_tokenizer
from luthier.stages.monitor.dashboards import make_dashboards
from luthier.stages.monitor.reference import Reference, build_reference, from_bytes, to_bytes
from luthier.stages.monitor.report_rows import list_report_rows
from luthier.stages.monitor.signals import observe

VERSION: Final = 1
REFERENCE_NAME: Final = "reference.json"


def run(section: MonitorSection, inputs: Mapping[str, AnyRecord], ctx: Context) -> MonitorReference:
    """Make a release's reference, or set up the watch over a release.

    Args:
        section: ``mode`` says which.
        inputs: ``model`` and ``evaluate``, with ``data`` for the texts of the questions, under ``reference``;
            ``deploy`` under ``watch``.
        ctx: What lifecycle hands over.

    Raises:
        DataError: E-MON-007 where the release's reference cannot be read.
        RecipeError: E-REC-008 for ``mode: reference`` in a recipe.
    """
    began = ctx.clock.monotonic()
    if section.mode == "reference" and "deploy" in inputs:
        raise RecipeError(
            "E-REC-008",
            "monitor.mode reference is what the deploy stage asks for; at a recipe's end there is only watch",
            got="reference",
            allowed="watch",
            fix="--set monitor.mode=watch",
            field="monitor.mode",
        )
    if section.mode == "reference":
        reference = make_reference(inputs, ctx)
        dashboards: dict[str, str] = {}
    else:
        reference = find_reference(inputs["deploy"], ctx)
        dashboards = write_dashboards(inputs["deploy"], ctx)
    identity = MonitorIdentity(
        parents={name: record.digest for name, record in inputs.items()},
        mode=section.mode,
        reference=ctx.blobs.put(to_bytes(reference)),
        false_alarm_rate=section.false_alarm_rate,
        horizon_days=HORIZON_DAYS,
        signals=list_signals(reference, rate=section.false_alarm_rate),
        absent=reference.absent,
        base=reference.base,
        base_digest=reference.base_digest or None,
        dashboards=dashboards,
    )
    folder = str(ctx.folder) if dashboards else ""
    return MonitorReference(
        identity=identity, witness=MonitorWitness(seconds=ctx.clock.monotonic() - began, folder=folder)
    )


def make_reference(inputs: Mapping[str, AnyRecord], ctx: Context) -> Reference:
    """Learn from the questions and answers of a Report."""
    model: ModelChoice = inputs["model"]
    report: Report = inputs["evaluate"]
    folder = Path(model.witness.path)
    template = ctx.blobs.get(model.identity.chat_template).decode()
    tokenizer = load_tokenizer(folder, chat_template=template or None)
    answers = ctx.blobs.get_lines(report.identity.answers)
    rows = list_report_rows(answers, _read_rows(inputs.get("data"), ctx), tokenizer)
    embeddings, why_not = try_embeddings(folder)
    observed = observe(rows, embeddings, why_no_base=why_not)
    name, digest = model.identity.name, model.identity.weights
    reference = build_reference(
        observed,
        seed=ctx.seed,
        base=name if embeddings else "",
        base_digest=digest if embeddings else "",
    )
    watched = ", ".join(signal.name for signal in reference.signals) or "nothing: too few questions"
    ctx.progress.say(f"the reference of {len(rows)} questions watches {watched}")
    return reference


def try_embeddings(folder: Path) -> tuple[StaticEmbeddings | None, str]:
    """Return a base's embeddings, or None and the reason: topics are then absent and the rest is watched."""
    try:
        return open_embeddings(folder), ""
    except ModelError as error:
        return None, f"{error.problems[0].what} ({error.problems[0].got})"


def _read_rows(data: DatasetVersion | None, ctx: Context) -> Iterator[Row]:
    """Yield every held-out row."""
    for name, split in sorted(data.identity.splits.items()) if data is not None else ():
        if name != "train":
            yield from ctx.blobs.get_rows(split.blob)


def find_reference(release: Release, ctx: Context) -> Reference:
    """Read the reference that travels in a release, from the store or from the release's folder.

    Raises:
        DataError: E-MON-007 where neither has it.
    """
    digest = release.identity.files.get(REFERENCE_NAME)
    if digest is None:
        raise DataError(
            "E-MON-007",
            "the release has no reference to compare traffic with",
            got=f"no {REFERENCE_NAME} among its files",
            origin=release.identity.name,
            allowed=f"a release whose deploy stage wrote {REFERENCE_NAME}",
            fix="luthier run RECIPE",
        )
    try:
        data = ctx.blobs.get(digest)
    except StoreError:  # a blob that is gone: the release's own file is the same bytes, and verified with it
        data = (Path(release.witness.folder) / REFERENCE_NAME).read_bytes()
    return from_bytes(data, origin=REFERENCE_NAME)


def list_signals(reference: Reference, *, rate: float) -> tuple[WatchedSignal, ...]:
    """Describe what is watched, with the thresholds that a rate gives."""
    return tuple(
        WatchedSignal(
            name=signal.name,
            detector=signal.detector,
            num_rows=signal.num_rows,
            num_dimensions=signal.baseline.means_GD.shape[1],
            threshold=round(signal.threshold(rate, len(reference.signals)), 6),
        )
        for signal in reference.signals
    )


def write_dashboards(release: Release, ctx: Context) -> dict[str, str]:
    """Write the dashboards into the stage's folder and the store, and return their digests by name."""
    digests = {}
    for name, text in make_dashboards(release.identity.name).items():
        write_atomic(ctx.folder / name, text.encode(), fs=ctx.fs)
        digests[name] = ctx.blobs.put(text.encode())
    return digests
