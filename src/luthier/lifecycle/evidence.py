"""One sentence a record: what a person wants to know of a stage at a glance."""

from __future__ import annotations

from luthier.foundation.schema.dataset import DatasetVersion
from luthier.foundation.schema.model import ModelChoice
from luthier.foundation.schema.plan import Plan
from luthier.foundation.schema.protocols import AnyRecord
from luthier.foundation.schema.report import Report
from luthier.foundation.schema.run import Run


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
        case _:
            return str(record.KIND)


def _describe_dataset(record: DatasetVersion) -> str:
    splits = ", ".join(f"{name} {rows.num_rows:,}" for name, rows in record.identity.splits.items())
    dropped = sum(step.dropped for step in record.identity.waterfall)
    changed = sum(step.changed for step in record.identity.waterfall)
    return f"{splits} rows; {dropped:,} dropped, {changed:,} changed"


def _describe_plan(record: Plan) -> str:
    identity, witness = record.identity, record.witness
    return (
        f"{identity.num_examples:,} rows, {identity.num_steps:,} steps, {identity.precision}; expects "
        f"{witness.peak_memory_bytes / 2**30:.1f} GiB and {witness.seconds_estimate / 60:.1f} minutes"
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
