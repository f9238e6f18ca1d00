"""Say what a data set holds and what was done to it: a waterfall, kinds and sizes, without looking at any language."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from statistics import fmean, quantiles
from typing import Final

from luthier.foundation.schema.dataset import DatasetVersion, SourceRead, WaterfallStep
from luthier.foundation.schema.noun import Noun
from luthier.foundation.schema.protocols import Blobs
from luthier.foundation.schema.rows import Row, ToolCall
from luthier.stages.data.texts import iterate_messages

_HUNDREDTHS: Final = 100


class Spread(Noun):
    """How a count is spread over rows."""

    mean: float
    median: float
    p95: float
    maximum: int


class SplitStatistics(Noun):
    """What one split holds.

    Attributes:
        num_rows: Rows.
        kinds: Rows by kind.
        num_groups: Distinct groups; rows without one count each for itself.
        messages: Messages a row, all roles.
        characters: Characters a row, contents and call arguments.
        with_tools: Rows that list tools.
        with_calls: Rows in which a tool is called.
    """

    num_rows: int
    kinds: dict[str, int]
    num_groups: int
    messages: Spread
    characters: Spread
    with_tools: int
    with_calls: int


class DataReport(Noun):
    """The report of one data set, as ``--json`` shows it."""

    digest: str
    sources: tuple[SourceRead, ...]
    waterfall: tuple[WaterfallStep, ...]
    splits: dict[str, SplitStatistics]


def build_report(record: DatasetVersion, blobs: Blobs) -> DataReport:
    """Read a data set's splits and count what is in them."""
    splits = {name: describe_rows(blobs.get_rows(part.blob)) for name, part in record.identity.splits.items()}
    return DataReport(
        digest=record.digest, sources=record.identity.sources, waterfall=record.identity.waterfall, splits=splits
    )


def describe_rows(rows: Iterable[Row]) -> SplitStatistics:
    """Count rows, kinds, messages and characters in one pass."""
    kinds: Counter[str] = Counter()
    groups: set[str] = set()
    messages: list[int] = []
    characters: list[int] = []
    with_tools = with_calls = 0
    for row in rows:
        said = list(iterate_messages(row))
        kinds[row.kind] += 1
        groups.add(row.group or f"row {row.id}")
        messages.append(len(said))
        characters.append(
            len(row.text) + sum(len(message.text) + _count_arguments(message.tool_calls) for message in said)
        )
        with_tools += bool(row.tools)
        with_calls += any(message.tool_calls for message in said)
    return SplitStatistics(
        num_rows=len(messages),
        kinds=dict(sorted(kinds.items())),
        num_groups=len(groups),
        messages=describe_spread(messages),
        characters=describe_spread(characters),
        with_tools=with_tools,
        with_calls=with_calls,
    )


def _count_arguments(calls: Sequence[ToolCall]) -> int:
    return sum(len(call.function.arguments) for call in calls)


def describe_spread(counts: Sequence[int]) -> Spread:
    """Return mean, median, 95th percentile and maximum; zeros where there is nothing."""
    if not counts:
        return Spread(mean=0.0, median=0.0, p95=0.0, maximum=0)
    marks = quantiles(counts, n=_HUNDREDTHS, method="inclusive") if len(counts) > 1 else [float(counts[0])] * 99
    return Spread(mean=round(fmean(counts), 2), median=marks[49], p95=round(marks[94], 2), maximum=max(counts))


def format_waterfall(steps: Sequence[WaterfallStep]) -> str:
    """Write the waterfall in one line, for messages."""
    return ", ".join(f"{step.operator} {step.rows_in} -> {step.rows_out}" for step in steps)


def tabulate_waterfall(steps: Sequence[WaterfallStep]) -> list[tuple[str, ...]]:
    """Return the waterfall as rows of a table, the head first."""
    head = ("step", "rows in", "rows out", "dropped", "changed", "flagged", "why")
    body = [
        (
            step.operator,
            *(f"{count:,}" for count in (step.rows_in, step.rows_out, step.dropped, step.changed, step.flagged)),
            ", ".join(f"{reason} {count:,}" for reason, count in step.reasons.items()),
        )
        for step in steps
    ]
    return [head, *body]


def tabulate_splits(splits: dict[str, SplitStatistics]) -> list[tuple[str, ...]]:
    """Return the splits as rows of a table, the head first."""
    head = ("split", "rows", "groups", "kinds", "messages a row", "characters a row", "p95", "greatest", "with calls")
    body = [
        (
            name,
            f"{split.num_rows:,}",
            f"{split.num_groups:,}",
            ", ".join(f"{kind} {count:,}" for kind, count in split.kinds.items()),
            f"{split.messages.mean:.1f}",
            f"{split.characters.mean:,.0f}",
            f"{split.characters.p95:,.0f}",
            f"{split.characters.maximum:,}",
            f"{split.with_calls:,}",
        )
        for name, split in splits.items()
    ]
    return [head, *body]


def render_html(report: DataReport) -> str:
    """Render the report as a fragment of HTML that needs nothing else: two tables and a bar a step."""
    most = max((step.rows_in for step in report.waterfall), default=1) or 1
    bars = "".join(
        f'<div><span style="display:inline-block;width:8em">{escape(step.operator)}</span>'
        f'<span style="display:inline-block;height:0.8em;background:currentColor;opacity:0.5;'
        f'width:{step.rows_out / most * 24:.2f}em"></span> {step.rows_out:,}</div>'
        for step in report.waterfall
    )
    return (
        f'<section class="data-report"><h2>Data</h2><p>Data set <code>{report.digest[:12]}</code></p>'
        f"<h3>What happened to the rows</h3>{bars}{_render_table(tabulate_waterfall(report.waterfall))}"
        f"<h3>What the splits hold</h3>{_render_table(tabulate_splits(report.splits))}</section>"
    )


def _render_table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    cells = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    lines = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in body)
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{lines}</tbody></table>"
