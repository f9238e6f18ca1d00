"""The demo's page: what a manager asks first stands first, and everything a sceptic wants to check is below it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Final

from luthier.api.demo_answers import list_answers_shown
from luthier.foundation.schema.protocols import Blobs
from luthier.stages.evaluate.page_charts import draw_curves, draw_intervals
from luthier.stages.evaluate.page_parts import write_page, write_section, write_table

if TYPE_CHECKING:
    from luthier.api.demo import DemoResult
    from luthier.foundation.schema.dataset import DatasetIdentity
    from luthier.foundation.schema.report import ReportIdentity
    from luthier.stages.data.ledger import Entry

NUM_ANSWERS: Final = 5
EXAMPLES_A_STEP: Final = 2
MAX_CHARACTERS: Final = 260
NAMES: Final = {
    "base": "the base as it comes",
    "base_few_shot": "the base shown three examples",
    "copy": "copied from the nearest training row",
    "tuned": "tuned",
}
STYLE: Final = """
.tiles { display: grid; gap: .75rem; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); margin: 1.25rem 0; }
.tile { background: var(--panel); border: 1px solid var(--line); border-radius: 6px; padding: .75rem 1rem; }
.tile b { display: block; font-size: 1.35rem; line-height: 1.2; white-space: nowrap; }
.tile span { color: var(--soft); font-size: .88rem; } .lead { font-size: 1.1rem; max-width: 46rem; }
.right { color: var(--pass); font-weight: 600; } .wrong { color: var(--fail); }
code { overflow-wrap: anywhere; } pre { overflow-x: auto; background: var(--panel); padding: .75rem 1rem; }
"""


@dataclass(frozen=True)
class PageFacts:
    """What the page reads beside the result.

    Attributes:
        entries: The ledger's lines of the training file.
        blobs: Where rows, answers and curves lie.
        seed: Draws the questions whose answers are shown.
    """

    entries: Sequence[Entry]
    blobs: Blobs
    seed: int


def render(result: DemoResult, facts: PageFacts) -> str:
    """Write the page; every text of rows and answers is escaped."""
    found = {stage.stage: stage for stage in result.corridor.stages}
    report = result.corridor.report.identity if result.corridor.report else None
    train = found.get("train")
    curve = list(facts.blobs.get_lines(train.record.witness.metrics)) if train and train.record.witness.metrics else []
    parts = [
        f"<h1>{escape(result.company)}: a support desk of its own</h1>",
        _write_lead(report) if report else "",
        _write_tiles(result, report) if report else "",
        write_section("Before and after", _write_values(report) if report else ""),
        write_section("Five requests that no training row holds", _write_answers(result, facts) if report else ""),
        write_section("What was wrong with the rows", _write_planted(result)),
        write_section("What was dropped or mended, and why", _write_steps(found["data"].record.identity, facts)),
        write_section("Training", draw_curves(curve, ("loss", "validation_loss"))),
        write_section("Is what would be served what was trained?", _write_parity(result)),
        write_section("Has traffic changed since?", _write_drift(result)),
        write_section("Honesty controls", _write_controls(result)),
        write_section("Lineage", _write_lineage(result)),
        write_section("Check it yourself", _write_commands(result)),
    ]
    return write_page(f"{result.company}: demo", "".join(parts), style=STYLE)


def _write_lead(report: ReportIdentity) -> str:
    verdict = f"<span class='verdict {report.verdict}'>{report.verdict}</span>"
    values = {one.system: one for one in report.metrics}
    if not {"base", "tuned"} <= values.keys():
        return f"<p class='lead'>{verdict}</p>"
    tuned, base = values["tuned"], values["base"]
    return (
        f"<p class='lead'>{verdict} Of {tuned.n:,} requests with names, numbers and wordings that no training row "
        f"holds, the tuned model answers <b>{tuned.value:.0%}</b> exactly as the policy demands; the base it was made "
        f"from {base.value:.0%} of the {base.n:,} that it was asked. The company is made up; the data, its defects and "
        "every figure here were made on this machine.</p>"
    )


def _write_tiles(result: DemoResult, report: ReportIdentity) -> str:
    gains = [one for one in report.differences if (one.first, one.second) == ("base", "tuned")]
    tiles: list[tuple[str, str]] = []
    if gains:
        low, high = gains[0].interval
        points = f"points over the base (95 %: {100 * low:+.0f} to {100 * high:+.0f})"
        tiles.append((f"{100 * gains[0].value:+.0f}", points))
    data = result.corridor.stages[0].record.identity
    tiles.append(
        (f"{sum(step.dropped for step in data.waterfall):,}", f"rows dropped of {data.waterfall[0].rows_in:,}")
    )
    plan, train = result.corridor.find("plan"), result.corridor.find("train")
    if plan and train:
        rows = f"minutes of training on {plan.record.identity.num_examples:,} rows"
        tiles.append((f"{train.record.witness.seconds / 60:.1f}", rows))
    if result.corridor.release:
        tiles.append((result.corridor.release.identity.certificate.verdict, "served is what was trained"))
    if result.drift:
        since = result.drift["since"]
        tiles.append(
            (str(since or "no drift"), "day since which traffic differs" if since else "in the demo's traffic")
        )
    tiles.append((f"{result.peak_memory_bytes / 2**30:.1f} GiB", "greatest memory, all processes"))
    shown = (f"<div class='tile'><b>{escape(value)}</b><span>{escape(text)}</span></div>" for value, text in tiles)
    return f"<div class='tiles'>{''.join(shown)}</div>"


def _write_values(report: ReportIdentity) -> str:
    parts = []
    for name in dict.fromkeys(one.metric for one in report.metrics):
        own = [one for one in report.metrics if one.metric == name]
        parts.append(f"<h3>{escape(name)}</h3>")
        parts.append(draw_intervals([(one.system, one.value, one.interval) for one in own]))
        told = "; ".join(f"{one.system}: {NAMES.get(one.system, one.system)}, {one.n:,} requests" for one in own)
        parts.append(f"<p class='soft'>95 % intervals. {escape(told)}.</p>")
    rows = [
        (
            escape(f"{one.second} minus {one.first}"),
            escape(one.metric),
            f"{one.value:+.3f}",
            f"{one.interval[0]:+.3f} to {one.interval[1]:+.3f}",
            "&lt; 0.0001" if one.p < 0.0001 else f"{one.p:.4f}",
            f"{one.n:,} in {one.clusters:,} cases",
        )
        for one in report.differences
    ]
    head = ("difference", "metric", "value", "95 % interval", "p", "requests")
    gates = [
        (
            f"<span class='verdict {one.verdict}'>{one.verdict}</span>",
            escape(f"{one.rule} {one.against}"),
            escape(one.reason),
        )
        for one in report.gates
    ]
    table = write_table(head, rows, numbers=(2, 3, 4)) if rows else ""
    return "".join([*parts, table, write_table(("gate", "rule", "why"), gates) if gates else ""])


def _write_answers(result: DemoResult, facts: PageFacts) -> str:
    shown = list_answers_shown(result, facts, wanted=NUM_ANSWERS)
    parts = ["<p class='soft'>Drawn by seed, one of a kind each, among those that every system was asked.</p>"]
    for one in shown:
        entries = [f"<dt>right</dt><dd class='text'>{escape(one.reference)}</dd>"]
        for system, text, is_right in one.answers:
            mark = "<span class='right'>✓</span>" if is_right else "<span class='wrong'>✗</span>"
            entries.append(f"<dt>{escape(system)} {mark}</dt><dd class='text'>{escape(_shorten(text))}</dd>")
        request = f"<div class='text'>{escape(_shorten(one.request))}</div>"
        parts.append(f"<div class='answers'>{request}<dl>{''.join(entries)}</dl></div>")
    return "".join(parts) if shown else ""


def _write_planted(result: DemoResult) -> str:
    rows = [
        (
            escape(kind.replace("_", " ")),
            escape(one.operator),
            f"{one.n:,}",
            f"{one.caught:,}",
            f"{one.caught / one.n:.0%}" if one.n else "-",
            f"{one.right / one.named:.0%}" if one.named else "-",
        )
        for kind, one in result.planted.items()
    ]
    note = (
        "<p class='soft'>Defects were planted in the training rows and labelled apart; no stage sees the labels. "
        "Recall: share of the planted rows that were caught. Precision: share of what the operator named that was "
        "planted.</p>"
    )
    head = ("planted", "operator", "rows", "caught", "recall", "precision")
    return note + write_table(head, rows, numbers=(2, 3, 4, 5)) if rows else ""


def _write_steps(data: DatasetIdentity, facts: PageFacts) -> str:
    rows, examples = [], []
    for step in data.waterfall:
        reasons = "; ".join(f"{reason.replace('_', ' ')}: {count:,}" for reason, count in step.reasons.items())
        numbers = (f"{step.rows_in:,}", f"{step.dropped:,}", f"{step.changed:,}", f"{step.rows_out:,}")
        rows.append((escape(step.operator), *numbers, escape(reasons)))
        own = [entry for entry in facts.entries if entry.operator == step.operator][:EXAMPLES_A_STEP]
        examples += [f"<dt>{escape(step.operator)}</dt><dd class='text'>{_write_example(entry)}</dd>" for entry in own]
    head = ("step", "rows in", "dropped", "changed", "rows out", "why")
    title = "<h3>Rows that were dropped or mended, as they were; personal data stay out of the ledger</h3>"
    shown = f"{title}<div class='answers'><dl>{''.join(examples)}</dl></div>"
    return write_table(head, rows, numbers=(1, 2, 3, 4)) + (shown if examples else "")


def _write_example(entry: Entry) -> str:
    asked = [message.text for message in entry.before.messages if message.role == "user"] if entry.before else []
    said = f"line {entry.origin.line}, {entry.action}"
    return escape(_shorten(f"{said}: {asked[-1]}" if asked else said))


def _write_parity(result: DemoResult) -> str:
    parity = result.corridor.to_json().get("parity")
    if not parity:
        return "<p>No release was made, so nothing is certified.</p>"
    rows = [
        (
            escape(step["step"]),
            "yes" if step["is_within"] else f"no: {escape(step['reason'])}",
            f"{step['num_probes']:,}",
            f"{step['measured']['max_delta']:.1e}" if step["measured"] else "",
            escape(step["contract"]),
        )
        for step in parity["steps"]
    ]
    note = (
        f"<p><span class='verdict {parity['verdict']}'>{parity['verdict']}</span> over {parity['num_probes']} probes. "
        f"Two sound ways of computing one model lie {parity['noise_floor']:.1e} nats apart.</p>"
    )
    return note + write_table(("form", "within", "probes", "greatest difference", "contract"), rows, numbers=(2, 3))


def _write_drift(result: DemoResult) -> str:
    if not result.drift:
        return "<p>No release was made, so there is no reference to compare traffic with.</p>"
    watched = [signal for signal in result.drift["signals"] if signal["state"] != "absent"]
    absent = [str(signal["signal"]) for signal in result.drift["signals"] if signal["state"] == "absent"]
    rows = [
        (
            escape(signal["signal"]),
            escape(signal["state"].replace("_", " ")),
            escape(str(signal["since"] or "")),
            escape(str(signal["found_on"] or "")),
        )
        for signal in watched
    ]
    traffic = result.drift["traffic"]
    days = f"{str(traffic['first'])[:10]} to {str(traffic['last'])[:10]}"
    told = (
        f"<p>Verdict: <b>{escape(result.drift['verdict'])}</b>, since {escape(str(result.drift['since'] or '-'))}. The "
        f"demo's traffic ({traffic['num_rows']:,} requests, {days}) does change on {escape(str(result.changed_from))}, "
        f"which the detectors are not told. At most {result.drift['false_alarm_rate']:.0%} of quiet periods of "
        f"{result.drift['horizon_days']} days raise any alarm.</p>"
    )
    missing = f"<p class='soft'>Not in this traffic: {escape(', '.join(absent))}.</p>" if absent else ""
    return told + write_table(("signal", "verdict", "since", "found on"), rows) + missing


def _write_controls(result: DemoResult) -> str:
    if not result.controls:
        return (
            "<p class='soft'>The base with three examples and the copy above are always asked. "
            "<code>luthier demo --controls</code> also trains on exchanged answers, compares the base with itself and "
            "trains on rows picked by chance.</p>"
        )
    rows = []
    for control in result.controls:
        shown = control.to_json()
        tuned = "" if shown["tuned"] is None else f"{shown['tuned']:.3f}"
        difference = "" if shown["difference"] is None else f"{shown['difference']:+.3f}"
        due = {None: "for comparison", False: "must not pass", True: "must pass"}[control.must_pass]
        state = "as it must" if control.holds else "<b class='FAIL'>does not hold</b>"
        rows.append((escape(control.what), due, escape(str(shown["verdict"])), tuned, difference, state))
    head = ("control", "", "verdict", "tuned", "over the base", "outcome")
    return write_table(head, rows, numbers=(3, 4))


def _write_lineage(result: DemoResult) -> str:
    rows: list[tuple[str, ...]] = [
        (escape(stage.stage), f"<code>{stage.digest[:12]}</code>", escape(stage.evidence), _write_parents(stage.record))
        for stage in reversed(result.corridor.stages)
    ]
    data = result.corridor.stages[0].record
    rows += [
        (
            "file",
            f"<code>{source.digest[:12]}</code>",
            f"{source.num_rows:,} rows, licence {escape(str(source.license))}",
            "",
        )
        for source in data.identity.sources
    ]
    return write_table(("made by", "digest", "what it is", "made from"), rows)


def _write_parents(record: Any) -> str:  # noqa: ANN401  a record of any kind
    return ", ".join(escape(f"{name} {digest[:8]}") for name, digest in sorted(record.identity.parents.items()))


def _write_commands(result: DemoResult) -> str:
    name = result.corridor.release.identity.name if result.corridor.release else None
    lines: Iterable[str] = (
        *((f"luthier release verify {name}", f"luthier chat release:{name}") if name else ()),
        "luthier govern audit verify",
        "luthier demo --controls",
        "luthier demo --seed 1",
    )
    return f"<pre>{escape(chr(10).join(lines))}</pre>"


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]} …"
