"""The report as one HTML file that needs nothing else: no script, no font, no picture from anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

from luthier.foundation.schema.dataset import DatasetIdentity
from luthier.foundation.schema.report import Difference, ReportIdentity
from luthier.stages.evaluate.compare import TUNED, ScoredMetric, find_flipped, find_worst
from luthier.stages.evaluate.harness import Answers
from luthier.stages.evaluate.page_charts import draw_curves, draw_intervals, format_number
from luthier.stages.evaluate.page_parts import write_page, write_section, write_table
from luthier.stages.evaluate.suite import PlannedSuite, Prompt

MAX_EXAMPLES: Final = 5
MAX_LISTED: Final = 20
MAX_CHARACTERS: Final = 1200


@dataclass(frozen=True, slots=True)
class PageInputs:
    """What the page is made of beside questions and answers.

    Attributes:
        curve: Lines of the run's ``metrics.jsonl``.
    """

    report: ReportIdentity
    data: DatasetIdentity
    base: str
    curve: Sequence[Mapping[str, Any]]


def render_page(
    inputs: PageInputs, suites: Sequence[PlannedSuite], answers: Answers, scored: Sequence[ScoredMetric]
) -> str:
    """Write the page.

    Args:
        inputs: Records.
        suites: With their questions.
        answers: Of every system.
        scored: All metrics.

    Returns:
        HTML; every text of rows and answers is escaped.
    """
    report = inputs.report
    body = [
        f"<h1>Evaluation: <span class='verdict {report.verdict}'>{report.verdict}</span></h1>",
        f"<p class='soft'>{escape(inputs.base)} as {escape(', '.join(report.systems))}; "
        f"{sum(len(one.prompts) for one in suites)} questions in {len(suites)} suites</p>",
        write_section("Gates", _write_gates(report)),
        "<div class='grid'>",
        write_section("Metrics", _write_metrics(report)),
        write_section("Differences", _write_differences(report)),
        "</div>",
        write_section("Training", draw_curves(inputs.curve, ("loss", "validation_loss"))),
        write_section("Data", _write_waterfall(inputs.data)),
        *(_write_suite(planned, answers, scored) for planned in suites if planned.suite.kind == "answers"),
    ]
    return write_page(f"Evaluation: {report.verdict}", "".join(body))


def _write_gates(report: ReportIdentity) -> str:
    if not report.gates:
        return "<p class='soft'>No gate was asked for.</p>"
    rows = [
        (
            f"<span class='verdict {gate.verdict}'>{gate.verdict}</span>",
            escape(gate.metric),
            escape(f"{gate.rule.replace('_', ' ')} {gate.against}"),
            f"{gate.n:,}",
            escape(gate.reason),
        )
        for gate in report.gates
    ]
    return write_table(("verdict", "metric", "rule", "rows", "why"), rows, numbers=(3,))


def _write_metrics(report: ReportIdentity) -> str:
    parts = []
    for name in dict.fromkeys(value.metric for value in report.metrics):
        own = [value for value in report.metrics if value.metric == name]
        first = own[0]
        rough = ", rough" if any(value.is_rough for value in own) else ""
        parts.append(f"<h3>{escape(name)}</h3>")
        parts.append(draw_intervals([(value.system, value.value, value.interval) for value in own]))
        parts.append(
            f"<p class='soft'>{first.n:,} rows, {first.clusters:,} independent; {first.confidence:.0%} interval "
            f"({escape(first.method.replace('_', ' '))}{rough})</p>"
        )
    return "".join(parts)


def _write_differences(report: ReportIdentity) -> str:
    parts = []
    for first, second in dict.fromkeys((one.first, one.second) for one in report.differences):
        own = [one for one in report.differences if (one.first, one.second) == (first, second)]
        parts.append(f"<h3>{escape(second)} minus {escape(first)}</h3>")
        # One picture a metric: their units differ.
        parts += [draw_intervals([(one.metric, one.value, one.interval)], zero=True) for one in own]
        head = ("metric", "better is", "p", "p (Holm)", "changed", "shows from")
        parts.append(write_table(head, [_write_difference(one) for one in own], numbers=(2, 3, 4, 5)))
    return "".join(parts)


def _write_difference(one: Difference) -> tuple[str, ...]:
    return (
        escape(one.metric) + (" <span class='soft'>rough</span>" if one.is_rough else ""),
        "higher" if one.higher_is_better else "lower",
        _write_p(one.p),
        _write_p(one.p if one.p_holm is None else one.p_holm),
        f"{one.discordant:,} of {one.n:,}",
        format_number(one.detectable),
    )


def _write_p(p: float) -> str:
    return "&lt; 0.0001" if p < 0.0001 else f"{p:.4f}"


def _write_waterfall(data: DatasetIdentity) -> str:
    rows = [
        (
            escape(step.operator),
            f"{step.rows_in:,}",
            f"{step.dropped:,}",
            f"{step.changed:,}",
            f"{step.rows_out:,}",
            escape("; ".join(f"{reason}: {count:,}" for reason, count in step.reasons.items())),
        )
        for step in data.waterfall
    ]
    splits = ", ".join(f"{name} {rows.num_rows:,}" for name, rows in data.splits.items())
    head = ("step", "rows in", "dropped", "changed", "rows out", "reasons")
    return write_table(head, rows, numbers=(1, 2, 3, 4)) + f"<p class='soft'>Sets: {escape(splits)}</p>"


def _write_suite(planned: PlannedSuite, answers: Answers, scored: Sequence[ScoredMetric]) -> str:
    one = next(one for one in scored if one.suite == planned.name)
    prompts = {prompt.id: prompt for prompt in planned.prompts}

    def show(ids: Sequence[str], limit: int) -> str:
        return "".join(_write_answers(prompts[key], planned, answers, one) for key in ids[:limit])

    others = [system for system in planned.systems if system != TUNED]
    parts = [f"<h3>The first {min(MAX_EXAMPLES, len(prompts))} questions</h3>", show(list(prompts), MAX_EXAMPLES)]
    if TUNED in planned.systems:
        for other in others:
            better, worse = find_flipped(one, other, TUNED)
            for title, ids in ((f"better than {other}", better), (f"worse than {other}", worse)):
                parts.append(_fold(f"{len(ids):,} questions that tuned does {title}", show(ids, MAX_LISTED), len(ids)))
        worst = find_worst(one, TUNED)
        parts.append(_fold(f"Worst of tuned by {one.name}", show(worst, MAX_LISTED), len(worst)))
    return write_section(f"Answers: {planned.name}", "".join(parts))


def _fold(title: str, body: str, count: int) -> str:
    note = f"<p class='soft'>The first {MAX_LISTED} are shown.</p>" if count > MAX_LISTED else ""
    return f"<details><summary>{escape(title)}</summary>{note}{body}</details>"


def _write_answers(prompt: Prompt, planned: PlannedSuite, answers: Answers, one: ScoredMetric) -> str:
    calls = [f"{call.function.name}({call.function.arguments})" for call in prompt.reference.tool_calls]
    asked = prompt.messages[-1].text if prompt.messages else ""
    entries = [("reference", "\n".join([text for text in (prompt.reference.text, *calls) if text]), "")]
    for system in planned.systems:
        if system in prompt.left_out:
            continue
        score = one.scores[system].get(prompt.id)
        entries.append(
            (system, answers[planned.name, system][prompt.id].text, "" if score is None else format_number(score))
        )
    rows = "".join(
        f"<dt>{escape(name)} {score}</dt><dd class='text'>{escape(_shorten(text))}</dd>"
        for name, text, score in entries
    )
    return f"<div class='answers'><div class='text'>{escape(_shorten(asked))}</div><dl>{rows}</dl></div>"


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]} …"
