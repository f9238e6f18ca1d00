"""The sections of a model card, each a function from the records that it speaks of to Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from luthier.foundation.schema.approval import Approval
from luthier.foundation.schema.dataset import DatasetVersion
from luthier.foundation.schema.model import ModelChoice
from luthier.foundation.schema.plan import Plan
from luthier.foundation.schema.protocols import AnyRecord
from luthier.foundation.schema.release import Certificate
from luthier.foundation.schema.report import Report
from luthier.foundation.schema.run import Run
from luthier.foundation.schema.sections import GovernSection
from luthier.instruments.govern.markdown import (
    code,
    escape,
    write_interval,
    write_list,
    write_number,
    write_table,
)

NOT_STATED: Final = "not stated"
REASONS_SHOWN: Final = 6
GENERAL_TEXT: Final = ".bits_per_byte"
UNTESTED: Final = (
    "harmful requests and refusals",
    "bias between groups of people",
    "whether training rows can be drawn out again",
    "instructions hidden in the input",
    "languages other than those of the test rows",
)
"""What no suite of this version looks at; a card says so rather than being silent."""
DECLARED: Final = "Names are declared by whoever typed them and are not authenticated."


def describe_use(govern: GovernSection) -> str:
    """Say what use was declared."""
    return (
        f"Declared use: {govern.use}; jurisdiction: {escape(govern.jurisdiction)}. Both are declared in the recipe; "
        "nothing checks how the model is used afterwards. It was trained and measured on conversations like its "
        "training and test rows; for anything else these numbers say nothing."
    )


def describe_base(model: ModelChoice) -> str:
    """Name the base, what it is made of, and what its licence allows."""
    identity, shape, licence = model.identity, model.identity.shape, model.identity.licence
    source = f"; {escape(licence.source)}, read on {escape(licence.checked_on)}" if licence.source else ""
    return write_table(
        ("what", "value"),
        [
            ("base", escape(identity.name)),
            ("weights (sha256)", code(identity.weights)),
            ("architecture", escape(shape.architecture)),
            ("parameters", write_number(shape.num_parameters)),
            ("longest input and output together, tokens", write_number(shape.max_positions)),
            ("quantised while training", escape(identity.quantise)),
            ("chat template (sha256)", code(identity.chat_template)),
            ("template for tools", escape(identity.tool_template)),
            ("licence", escape(licence.licence or NOT_STATED)),
            ("licence verdict for the declared use", f"{licence.verdict}: {escape(licence.reason)}{source}"),
        ],
    )


def describe_data(data: DatasetVersion, *, num_examples: int) -> str:
    """List sources with licence and basis, splits, and what every operator dropped and why."""
    identity = data.identity
    sources = [
        (
            code(source.digest),
            escape(source.form),
            write_number(source.num_rows),
            escape(source.license or NOT_STATED),
            escape(source.basis or NOT_STATED),
        )
        for source in identity.sources
    ]
    splits = [(escape(name), write_number(rows.num_rows), code(rows.blob)) for name, rows in identity.splits.items()]
    steps = [
        (
            escape(step.operator),
            *(write_number(count) for count in (step.rows_in, step.rows_out, step.changed, step.flagged, step.dropped)),
            _list_reasons(step.reasons),
        )
        for step in identity.waterfall
    ]
    ranked = " by the order of a selector" if identity.ranking else ""
    return "\n\n".join(
        [
            write_table(("source (sha256)", "form", "rows", "licence", "basis"), sources),
            write_table(("split", "rows", "blob (sha256)"), splits),
            f"Trained on {num_examples:,} rows of the split `train`{ranked}.",
            write_table(("operator", "rows in", "rows out", "changed", "flagged", "dropped", "because"), steps),
        ]
    )


def _list_reasons(reasons: dict[str, int]) -> str:
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{escape(reason)}: {count:,}" for reason, count in ordered[:REASONS_SHOWN]]
    rest = len(ordered) - REASONS_SHOWN
    return "; ".join([*shown, f"and {rest:,} further reasons"] if rest > 0 else shown)


def describe_training(plan: Plan, run: Run) -> str:
    """Say with which numbers it was trained and where the loss ended."""
    planned, made = plan.identity, run.identity
    loss = NOT_STATED if made.validation_loss is None else write_number(made.validation_loss)
    return write_table(
        ("what", "value"),
        [
            ("method", _list_options(planned.method)),
            ("objective", _list_options(planned.objective)),
            ("rows", write_number(planned.num_examples)),
            ("epochs", write_number(planned.epochs)),
            ("optimizer steps", write_number(made.num_steps)),
            ("step that was kept", write_number(made.best_step)),
            ("tokens a step, at most", write_number(planned.batch_tokens)),
            ("longest row, tokens", write_number(planned.max_length)),
            ("learning rate", write_number(planned.learning_rate)),
            ("precision", planned.precision),
            ("seed", str(planned.seed)),
            ("training loss, nats a token", write_number(made.train_loss)),
            ("validation loss, nats a token", loss),
            ("trained weights (sha256)", code(made.weights)),
        ],
    )


def _list_options(options: dict[str, object]) -> str:
    named = [f"{escape(name)} {escape(value)}" for name, value in options.items() if name != "type"]
    return ", ".join([escape(options.get("type", "?")), *named])


def describe_evaluation(report: Report, approvals: Sequence[Approval]) -> str:
    """Lay out numbers with intervals, paired differences, gates and verdict."""
    identity = report.identity
    parts = [_draw_metrics(report), _draw_differences(report)]
    gates = [
        (escape(gate.metric), f"{escape(gate.rule)} {escape(gate.against)}", gate.verdict, escape(gate.reason))
        for gate in identity.gates
    ]
    parts.append(
        write_table(("gate", "rule", "verdict", "because"), gates)
        if gates
        else "No gate was set: nothing was promised."
    )
    parts.append(f"Verdict: **{identity.verdict}**.")
    if approvals:
        words = {True: "overridden", False: "approved"}
        given = [f"{words[one.is_override]} by {escape(one.by)}: {escape(one.reason)}" for one in approvals]
        parts.append(f"{write_list(given)}\n\n{DECLARED}")
    return "\n\n".join(parts)


def _draw_metrics(report: Report) -> str:
    rows = [
        (
            escape(value.metric),
            escape(value.system),
            write_number(value.value),
            f"{write_interval(value.interval)} at {value.confidence:g}",
            write_number(value.n),
            write_number(value.clusters),
            escape(value.method) + (", rough" if value.is_rough else ""),
        )
        for value in report.identity.metrics
    ]
    return write_table(("metric", "system", "value", "interval", "rows", "independent", "by"), rows)


def _draw_differences(report: Report) -> str:
    rows = [
        (
            escape(item.metric),
            f"{escape(item.second)} - {escape(item.first)}",
            write_number(item.value),
            f"{write_interval(item.interval)} at {item.confidence:g}",
            f"{write_number(item.p)} ({escape(item.test)})",
            NOT_STATED if item.p_holm is None else write_number(item.p_holm),
            write_number(item.n),
            write_number(item.detectable),
        )
        for item in report.identity.differences
    ]
    columns = ("metric", "difference", "value", "interval", "p", "p (Holm)", "rows", "detectable")
    return write_table(columns, rows) if rows else "No two systems were compared."


def describe_limits(report: Report, data: DatasetVersion, model: ModelChoice) -> str:
    """Say what was lost, what is not settled, what is not known, and what nobody tested."""
    identity = report.identity
    limits = [*_say_forgotten(report)]
    limits += [
        f"{escape(item.metric)}: no difference between {escape(item.first)} and {escape(item.second)} is shown by "
        f"{item.n:,} rows; one of {write_number(item.detectable)} would have been found"
        for item in identity.differences
        if item.interval[0] <= 0 <= item.interval[1]
    ]
    rough = sorted({value.metric for value in identity.metrics if value.is_rough})
    if rough:
        limits.append(f"too few independent rows for intervals to be trusted: {', '.join(map(escape, rough))}")
    unstated = sum(source.license is None for source in data.identity.sources)
    if unstated:
        limits.append(f"{unstated:,} of {len(data.identity.sources):,} sources state no licence")
    if model.identity.licence.verdict == "unknown":
        limits.append("whether the base's licence allows the declared use is unknown")
    limits.append(f"not tested: {'; '.join(UNTESTED)}")
    limits.append("who started, approved or reviewed anything: names are declared and not authenticated")
    return write_list(limits)


def _say_forgotten(report: Report) -> list[str]:
    """Compare tuned with base on general text, where a suite weighed it."""
    found = [
        item
        for item in report.identity.differences
        if item.metric.endswith(GENERAL_TEXT) and (item.first, item.second) == ("base", "tuned")
    ]
    if not found:
        return ["forgetting was not measured: what the base could do elsewhere may be lost"]
    return [
        f"forgetting, {escape(item.metric)}: {write_number(item.value)} against the base, interval "
        f"{write_interval(item.interval)} ({'higher' if item.higher_is_better else 'lower'} is better)"
        for item in found
    ]


def describe_parity(certificate: Certificate | None) -> str:
    """Say whether what is served was shown to be what was trained."""
    if certificate is None:
        return "No certificate was made: that what is served equals what was trained is not shown."
    steps = [
        (
            escape(step.step),
            "within" if step.is_within else f"beyond: {escape(step.reason)}",
            escape(step.contract),
            write_number(step.num_probes),
            write_number(step.num_tokens),
        )
        for step in certificate.steps
    ]
    fewer = ""
    if certificate.num_probes < certificate.num_asked:
        fewer = f"; {certificate.num_asked:,} were asked for"
    return (
        f"Certificate: **{certificate.verdict}**, on {certificate.num_probes:,} probes{fewer}.\n\n"
        f"{write_table(('step', 'verdict', 'contract', 'probes', 'tokens'), steps)}"
    )


def describe_records(*records: AnyRecord) -> str:
    """List the digests of the records that this page was read from."""
    return write_table(("record", "sha256"), [(escape(record.KIND), code(record.digest)) for record in records])
