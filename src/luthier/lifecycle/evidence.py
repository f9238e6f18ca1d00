"""One sentence a record: what a person wants to know of a stage at a glance."""

from __future__ import annotations

from typing import Final

from luthier.foundation.schema.dataset import DatasetVersion
from luthier.foundation.schema.model import ModelChoice
from luthier.foundation.schema.monitoring import MonitorReference
from luthier.foundation.schema.plan import Plan
from luthier.foundation.schema.protocols import AnyRecord
from luthier.foundation.schema.release import Release
from luthier.foundation.schema.report import Report
from luthier.foundation.schema.run import Run

SECONDS_SHOWN: Final = 120


def describe(record: AnyRecord) -> str:
    """Say what a record found or made.

    Args:
        record: A record of any kind; one that is not known here is named by its kind.
    """
    match record:
        case DatasetVersion():
            return _describe_dataset(record)
        case ModelChoice():
            identity = record.identity
            size = f"{identity.shape.num_parameters / 1e6:,.1f} M parameters"
            return f"{identity.name}, {size}, licence {identity.licence.licence} {identity.licence.verdict}"
        case Plan():
            return _describe_plan(record)
        case Run():
            return _describe_run(record)
        case Report():
            return _describe_report(record)
        case Release():
            return _describe_release(record)
        case MonitorReference():
            watched = ", ".join(signal.name for signal in record.identity.signals)
            return f"watches {watched or 'nothing'}; false alarms at most {record.identity.false_alarm_rate:g}"
        case _:
            return str(record.KIND)


def _describe_dataset(record: DatasetVersion) -> str:
    order = {name: place for place, name in enumerate(("train", "validation", "test"))}
    names = sorted(record.identity.splits, key=lambda name: (order.get(name, len(order)), name))
    splits = ", ".join(f"{name} {record.identity.splits[name].num_rows:,}" for name in names)
    dropped = sum(step.dropped for step in record.identity.waterfall)
    changed = sum(step.changed for step in record.identity.waterfall)
    return f"{splits} rows; {dropped:,} dropped, {changed:,} changed"


def _describe_plan(record: Plan) -> str:
    identity, witness = record.identity, record.witness
    seconds = witness.seconds_estimate
    time = f"{seconds / 60:.1f} minutes" if seconds >= SECONDS_SHOWN else f"{seconds:.0f} seconds"
    return (
        f"{identity.num_examples:,} rows, {identity.num_steps:,} steps, {identity.precision}; expects "
        f"{witness.peak_memory_bytes / 2**30:.1f} GiB and {time}"
    )


def _describe_run(record: Run) -> str:
    identity, witness = record.identity, record.witness
    loss = f"loss {identity.train_loss:.4f}"
    if identity.validation_loss is not None:
        loss += f", validation {identity.validation_loss:.4f} at step {identity.best_step}"
    return f"{identity.num_steps:,} steps, {loss}; {witness.rate_tokens_per_second:,.0f} tokens/s"


def _describe_report(record: Report) -> str:
    gates = "; ".join(f"{gate.metric} {gate.rule} {gate.against}: {gate.verdict}" for gate in record.identity.gates)
    return f"{record.identity.verdict}" + (f" ({gates})" if gates else "")


def _describe_release(record: Release) -> str:
    certificate = record.identity.certificate
    steps = ", ".join(step.step for step in certificate.steps)
    probes = f"{certificate.num_probes} probes"
    if certificate.num_probes < certificate.num_asked:
        probes += f" of {certificate.num_asked} asked for"
    exports = ", ".join(record.identity.exports)
    return f"{record.identity.name}: {exports}; parity {certificate.verdict} ({steps}; {probes})"
