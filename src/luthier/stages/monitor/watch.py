"""Traffic against a reference: a verdict a signal, since when, how large, and rows that show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from luthier.instruments.measure.stats.drift import (
    MIN_WINDOW_ROWS,
    DailySums,
    Span,
    locate_change,
    scan_windows,
    sum_by_day,
)
from luthier.stages.monitor.detector import Floats, Shift, Size
from luthier.stages.monitor.reference import MIN_ROWS, Reference, SignalReference, load_detector
from luthier.stages.monitor.signals import Observed
from luthier.stages.monitor.traffic import TrafficRow

State = Literal["drift", "none", "too_few_rows", "absent"]
NUM_EXAMPLES: Final = 5


@dataclass(frozen=True, slots=True)
class SignalVerdict:
    """What one signal says.

    Attributes:
        state: The verdict.
        reason: Why there is none; empty where there is one.
        statistic: The greatest of all windows.
        threshold: What it must exceed.
        since: First day of the stretch that differs most.
        until: Its last day.
        found_on: The day on which the alarm came, looking every day.
        is_ongoing: Whether the newest window still alarms.
        size: How large the shift is in that stretch.
        examples: Rows of the stretch that are most unlike the reference in the direction of the shift.
    """

    signal: str
    detector: str
    state: State
    reason: str = ""
    statistic: float | None = None
    threshold: float | None = None
    since: date | None = None
    until: date | None = None
    found_on: date | None = None
    is_ongoing: bool = False
    size: Size | None = None
    examples: tuple[dict[str, Any], ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Stream:
    """One signal of the traffic, ready to be scanned: rows that have it, by day from the traffic's first."""

    scores_ND: Floats
    days_N: NDArray[np.int64]
    groups_N: NDArray[np.int64]
    rows_N: NDArray[np.int64]
    daily: DailySums
    first_day: int


def watch(
    reference: Reference, observed: Observed, rows: Sequence[TrafficRow], *, rate: float
) -> tuple[SignalVerdict, ...]:
    """Look at traffic as if every day had been looked at when it was over.

    Args:
        reference: What it is compared with.
        observed: The traffic's values.
        rows: The same rows, for examples.
        rate: Greatest chance of any false alarm of any signal within sixty days.
    """
    verdicts = [_watch_signal(signal, reference, observed, rows, rate=rate) for signal in reference.signals]
    for name in sorted({*reference.absent, *observed.absent} - {signal.name for signal in reference.signals}):
        in_traffic = name not in observed.absent
        reason = f"the reference lacks it: {reference.absent.get(name, '')}" if in_traffic else observed.absent[name]
        verdicts.append(SignalVerdict(name, "", "absent", reason))
    return tuple(verdicts)


def conclude(verdicts: Sequence[SignalVerdict]) -> Literal["drift", "none", "too_few_rows"]:
    """Return one verdict for all: drift where any signal has it, none where one could be judged."""
    states = {verdict.state for verdict in verdicts}
    if "drift" in states:
        return "drift"
    return "none" if "none" in states else "too_few_rows"


def _watch_signal(
    signal: SignalReference, reference: Reference, observed: Observed, rows: Sequence[TrafficRow], *, rate: float
) -> SignalVerdict:
    name, detector = signal.name, signal.detector
    if name not in observed.values:
        return SignalVerdict(name, detector, "absent", observed.absent.get(name, "the traffic lacks it"))
    values_NV = observed.values[name]
    has_value = ~np.isnan(values_NV).any(axis=1)
    num_rows = int(has_value.sum())
    if num_rows < MIN_ROWS or observed.days_N is None:
        return SignalVerdict(name, detector, "too_few_rows", f"{num_rows} rows have it; {MIN_ROWS} are needed")
    stream = _read_stream(signal, reference, observed, np.flatnonzero(has_value))
    threshold = signal.threshold(rate, len(reference.signals))
    statistics_LT = scan_windows(stream.daily, signal.baseline.counts_G)
    greatest = float(statistics_LT.max())
    if not np.isfinite(greatest):
        return SignalVerdict(
            name, detector, "too_few_rows", f"no week has {MIN_WINDOW_ROWS} rows of it", threshold=threshold
        )
    if greatest <= threshold:
        return SignalVerdict(name, detector, "none", statistic=greatest, threshold=threshold)
    alarming = np.flatnonzero(statistics_LT.max(axis=0) > threshold)
    found = int(alarming[0])
    span = locate_change(stream.daily, signal.baseline.counts_G, found=found)
    size, examples = _describe(signal, stream, span, rows)
    return SignalVerdict(
        name,
        detector,
        "drift",
        statistic=greatest,
        threshold=threshold,
        since=date.fromordinal(stream.first_day + span.first),
        until=date.fromordinal(stream.first_day + span.last),
        found_on=date.fromordinal(stream.first_day + found),
        is_ongoing=bool(statistics_LT[0, -1] > threshold),
        size=size,
        examples=examples,
    )


def _read_stream(
    signal: SignalReference, reference: Reference, observed: Observed, rows_N: NDArray[np.int64]
) -> Stream:
    if observed.days_N is None:
        raise TypeError(observed.days_N)
    scores_ND = signal.score(observed.values[signal.name][rows_N])
    days_N = observed.days_N[rows_N]
    groups_N = reference.groups(days_N, len(rows_N))
    if len(signal.baseline.counts_G) == 1:
        groups_N = np.zeros_like(groups_N)
    first_day = int(observed.days_N.min())
    daily = sum_by_day(scores_ND, days_N - first_day, groups_N, signal.baseline)
    return Stream(scores_ND, days_N - first_day, groups_N, rows_N, daily, first_day)


def _describe(
    signal: SignalReference, stream: Stream, span: Span, rows: Sequence[TrafficRow]
) -> tuple[Size, tuple[dict[str, Any], ...]]:
    inside = (stream.days_N >= span.first) & (stream.days_N <= span.last)
    moved_ND = stream.scores_ND[inside] - signal.baseline.means_GD[stream.groups_N[inside]]
    counts_G = np.bincount(stream.groups_N[inside], minlength=len(signal.baseline.counts_G))
    num_rows = len(moved_ND)
    shift = Shift(
        mean_D=moved_ND.mean(axis=0),
        variance_D=moved_ND.var(axis=0),
        num_rows=num_rows,
        reference_variance=float((counts_G**2 / signal.baseline.counts_G).sum()) / num_rows**2,
    )
    direction_D = shift.mean_D / max(float(np.linalg.norm(shift.mean_D)), 1e-12)
    order = np.argsort(-(moved_ND @ direction_D), kind="stable")
    chosen = (rows[index] for index in stream.rows_N[inside][order])
    return load_detector(signal.detector).size(shift, signal.state), _show(signal.name, chosen)


def _show(name: str, rows: Any) -> tuple[dict[str, Any], ...]:  # noqa: ANN401  an iterator of rows
    shown: dict[str, dict[str, Any]] = {}
    for row in rows:
        time = row.time.isoformat() if row.time else None
        entry = {"time": time, "text": row.text, name: row.numbers.get(name)}
        shown.setdefault(row.text or str(time), {key: value for key, value in entry.items() if value is not None})
        if len(shown) == NUM_EXAMPLES:
            break
    return tuple(shown.values())
