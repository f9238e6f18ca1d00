"""docs/results.md: a section for each committed Report, with published figures beside ours.

Numbers of ours come from the committed records only. published.yaml is kept by hand: what was asked, figures of others
with split, setting and what of the source was read, and why they differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import yaml
from results_export import Entry

from luthier.foundation.schema.noun import Noun
from luthier.foundation.schema.report import Difference, MetricValue

HEAD: Final = """\
<!-- Written by scripts/results.py from benchmarks/results/reports/ and scripts/published.yaml: `make results`. -->

# Results

Recipes that were run on real rows, with what came of it. Every number of ours is in a committed Report under
`benchmarks/results/reports/`: records, row ids and scores; the texts stay in the workspace that made them. Intervals
are at 95 %; *rough* marks sizes for which their coverage was not shown. Differences are second minus first on the same
rows. `make results ROW=NAME` runs a recipe again and writes this page anew (`LUTHIER_DATA` names the rows).
"""
GIB: Final = 2**30
MINUTE: Final = 60.0


class OurNumber(Noun):
    """Which number of ours stands beside a published one."""

    metric: str
    system: str


class PublishedFigure(Noun):
    """One figure of others.

    Attributes:
        value: In the unit of our metric, so an accuracy of 93.4 % is 0.934.
        read: What of the source was read: ``table``, ``model card``, or ``second hand`` with where.
        ours: The number it is set against; None for figures of another task.
    """

    system: str
    metric: str
    value: float
    split: str
    setting: str
    source: str
    read: str
    ours: OurNumber | None = None


class PublishedRecipe(Noun):
    """What is kept by hand for one recipe."""

    title: str
    asked: str
    rows: str
    figures: tuple[PublishedFigure, ...] = ()
    neighbours: tuple[PublishedFigure, ...] = ()
    searched: str
    not_verified: tuple[str, ...] = ()
    why: str


def read_published(path: Path) -> dict[str, PublishedRecipe]:
    """Read published.yaml."""
    table = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {name: PublishedRecipe.model_validate(value) for name, value in table.items()}


def render_page(entries: Sequence[Entry], published: dict[str, PublishedRecipe]) -> str:
    """Return the page: an overview, then a section for each entry."""
    parts = [HEAD, *_write_overview(entries, published)]
    for entry in entries:
        parts += _write_section(entry, published.get(entry.name))
    return "\n".join(parts)


def _write_overview(entries: Sequence[Entry], published: dict[str, PublishedRecipe]) -> Iterator[str]:
    if not entries:
        yield "No Report is committed yet.\n"
        return
    rows = []
    for entry in entries:
        report = entry.report.identity
        passed = sum(gate.verdict == "PASS" for gate in report.gates)
        title = published[entry.name].title if entry.name in published else entry.name
        rows.append((entry.name, title, report.verdict, f"{passed} of {len(report.gates)}"))
    yield _write_table(("recipe", "task", "verdict", "gates passed"), rows)


def _write_section(entry: Entry, published: PublishedRecipe | None) -> Iterator[str]:
    report = entry.report.identity
    yield f"## {published.title if published else entry.name}\n"
    if published:
        yield f"{published.asked.strip()}\n\n{published.rows.strip()}\n"
    yield from _write_how(entry)
    yield "### What came out\n"
    yield _write_table(("metric", "system", "value", "95 % interval", "n"), map(_metric_row, report.metrics))
    yield _write_table(
        ("metric", "second", "first", "difference", "95 % interval", "p", "p (Holm)", "n"),
        map(_difference_row, report.differences),
    )
    gates = [(gate.metric, f"{gate.rule} {gate.against}", gate.verdict, gate.reason) for gate in report.gates]
    yield f"Verdict: **{report.verdict}**.\n"
    yield _write_table(("gate", "rule", "verdict", "reason"), gates)
    yield "### Published figures\n"
    if published:
        yield from _write_published(entry, published)
    else:
        yield "Not looked for.\n"


def _write_how(entry: Entry) -> Iterator[str]:
    plan, run, report = entry.plan, entry.run, entry.report.witness
    options = ", ".join(f"{name} {_plain(value)}" for name, value in plan.method.items() if name != "type")
    machine = ", ".join(f"{name} {_plain(value)}" for name, value in plan.hardware.items() if name in MACHINE)
    commit = f"`{entry.commit[:12]}`{' with changes' if entry.is_dirty else ''}" if entry.commit else "outside git"
    resumes = f", resumed {run.num_resumes} times (the time is the last part's)" if run.num_resumes else ""
    yield "### How it was made\n"
    yield f"```bash\n{entry.command}\n```\n"
    rows = [
        ("base", f"{entry.model.name}, {entry.model.num_parameters / 1e6:.0f} M, weights `{entry.model.weights[:12]}`"),
        ("rows", " -> ".join(f"{step.operator} {step.rows_out:,}" for step in entry.data.waterfall)),
        ("sets", ", ".join(f"{name} {num:,}" for name, num in entry.data.splits.items() if num)),
        (
            "trained",
            f"{plan.num_examples:,} rows, {plan.num_tokens:,} tokens ({plan.num_trained_tokens:,} trained), "
            f"epochs {plan.epochs:g}, steps {plan.num_steps:,}",
        ),
        (
            "method",
            f"{plan.method['type']} ({options}), {plan.objective}, {plan.precision}, "
            f"learning rate {plan.learning_rate:g}, seed {plan.seed}",
        ),
        ("asked", "; ".join(map(_suite, entry.report.identity.suites))),
        ("time", _write_stages(entry)),
        ("training", f"{_minutes(run.seconds)} min, {run.rate_tokens_per_second:,.0f} tokens/s{resumes}"),
        ("evaluation", f"{_minutes(report.seconds)} min, {report.num_answers:,} answers"),
        ("peak memory", f"{_gib(run.peak_memory_bytes)} GiB training, {_gib(report.peak_memory_bytes)} GiB evaluating"),
        ("machine", machine),
        ("made", f"{entry.date} UTC, exported from {commit}, torch {entry.environment.get('torch', '?')}"),
        ("record", f"`{entry.report_digest[:12]}` in `benchmarks/results/reports/{entry.name}.json`"),
    ]
    yield _write_table(("what", "how"), rows)


MACHINE: Final = ("processor", "cores", "device", "system")


def _write_published(entry: Entry, published: PublishedRecipe) -> Iterator[str]:
    if published.figures:
        head = ("system", "metric", "value", "ours", "ours minus theirs", "split", "setting", "source", "read")
        yield _write_table(head, (_compare(entry, figure) for figure in published.figures))
    else:
        yield "None found.\n"
    if published.neighbours:
        yield "On the same data, but another task: context, not a comparison.\n"
        cited = ("system", "metric", "value", "split", "setting", "source", "read")
        yield _write_table(cited, map(_cite, published.neighbours))
    yield f"Why they differ: {published.why.strip()}\n"
    yield f"Searched: {published.searched.strip()}\n"
    if published.not_verified:
        yield "Not verified, so left out:\n"
        yield "\n".join(f"- {one.strip()}" for one in published.not_verified) + "\n"


def _compare(entry: Entry, figure: PublishedFigure) -> tuple[str, ...]:
    """Set a published figure against ours: theirs, ours, and the difference, negative where ours is lower."""
    ours = _find_ours(entry, figure.ours)
    beside = (f"{ours.value:.4f} ({ours.system})", f"{ours.value - figure.value:+.4f}") if ours else ("none", "")
    cited = _cite(figure)
    return (*cited[:3], *beside, *cited[3:])


def _find_ours(entry: Entry, wanted: OurNumber | None) -> MetricValue | None:
    metrics = entry.report.identity.metrics
    return next((one for one in metrics if wanted and (one.metric, one.system) == (wanted.metric, wanted.system)), None)


def _cite(figure: PublishedFigure) -> tuple[str, ...]:
    value = f"{figure.value:.4f}"
    return (figure.system, figure.metric, value, figure.split, figure.setting, figure.source, figure.read)


def _metric_row(one: MetricValue) -> tuple[str, ...]:
    return (one.metric, one.system, f"{one.value:.4f}", _interval(one), f"{one.n:,}")


def _difference_row(one: Difference) -> tuple[str, ...]:
    holm = "" if one.p_holm is None else f"{one.p_holm:.2g}"
    difference = f"{one.value:+.4f}"
    return (one.metric, one.second, one.first, difference, _interval(one), f"{one.p:.2g}", holm, f"{one.n:,}")


def _interval(one: MetricValue | Difference) -> str:
    low, high = one.interval
    return f"{low:.4f} to {high:.4f}{' (rough)' if one.is_rough else ''}"


def _suite(suite: dict[str, object]) -> str:
    bounds = ("max_questions", "max_new_tokens", "passages", "max_tokens")
    shown = (f"{name} {suite[name]}" for name in bounds if suite.get(name) is not None)
    return f"{suite['name']} on {suite['on']}: {', '.join(shown)}"


def _write_stages(entry: Entry) -> str:
    stages = ", ".join(f"{name} {_minutes(seconds)}" for name, seconds in entry.stage_seconds.items())
    return f"{_minutes(sum(entry.stage_seconds.values()))} min in all: {stages}"


def _minutes(seconds: float) -> str:
    return f"{seconds / MINUTE:.1f}"


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / GIB:.2f}"


def _plain(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _write_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a Markdown table; bars in cells are escaped, line breaks become spaces."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(
        f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines
    )
