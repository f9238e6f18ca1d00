"""Progress on stderr: bars with rate and time to go on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Final, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as RemainingColumn

from luthier.foundation.core.progress import Progress as ProgressProtocol
from luthier.foundation.core.progress import ProgressTask

LINE_EVERY_SECONDS: Final = 15.0


def make_progress(stream: TextIO) -> ProgressProtocol:
    """Return the progress that suits a stream.

    Args:
        stream: Where a person may be looking.
    """
    return BarProgress(stream) if stream.isatty() else LineProgress(stream)


def format_figures(figures: dict[str, float | str]) -> str:
    """Write figures in one line: ``loss 1.23  tokens_per_second 4,200``."""
    return "  ".join(f"{name.replace('_', ' ')} {_format_figure(value)}" for name, value in figures.items())


def _format_figure(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 100 or float(value).is_integer() else f"{value:.4g}"


def format_seconds(seconds: float) -> str:
    """Write a duration as ``1:02:03`` or ``2:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class LineProgress:
    """One line at the start and the end of each task, and one every quarter of a minute between."""

    def __init__(self, stream: TextIO) -> None:
        """Remember where lines go."""
        self._stream = stream

    def task(self, name: str, *, total: float | None, unit: str = "") -> ProgressTask:
        """Begin a task."""
        return _LineTask(self, name, total, unit)

    def say(self, sentence: str) -> None:
        """Write one line at once."""
        self._stream.write(f"{sentence}\n")
        self._stream.flush()


class _LineTask:
    def __init__(self, progress: LineProgress, name: str, total: float | None, unit: str) -> None:
        self._progress = progress
        self._name = name
        self._total = total
        self._unit = unit
        self._done = 0.0
        self._figures: dict[str, float | str] = {}
        self._began = self._spoken = time.monotonic()

    def advance(self, amount: float = 1.0, **figures: float | str) -> None:
        self._done += amount
        self._figures |= figures
        now = time.monotonic()
        if now - self._spoken >= LINE_EVERY_SECONDS:
            self._spoken = now
            self._progress.say(self._describe(now))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        state = "done" if kind is None else "stopped"
        self._progress.say(f"{self._describe(time.monotonic())}  {state}")

    def _describe(self, now: float) -> str:
        """Write name, amount, rate, time to go and figures."""
        elapsed = now - self._began
        of = f" of {self._total:,.0f}" if self._total is not None else ""
        parts = [f"{self._name}: {self._done:,.0f}{of} {self._unit}".rstrip()]
        if self._done > 0 and elapsed > 0:
            rate = self._done / elapsed
            parts.append(f"{_format_figure(rate)}/s")
            if self._total is not None and self._total > self._done:
                parts.append(f"{format_seconds((self._total - self._done) / rate)} to go")
        if self._figures:
            parts.append(format_figures(self._figures))
        return "  ".join(parts)


class BarProgress:
    """Bars that redraw in place."""

    def __init__(self, stream: TextIO) -> None:
        """Prepare bars; nothing is drawn before the first task."""
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False)

    def task(self, name: str, *, total: float | None, unit: str = "") -> ProgressTask:
        """Begin a bar."""
        return _BarTask(self._console, name, total, unit)

    def say(self, sentence: str) -> None:
        """Write one line above the bars."""
        self._console.print(sentence)


class _BarTask:
    def __init__(self, console: Console, name: str, total: float | None, unit: str) -> None:
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}", markup=False),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeElapsedColumn(),
            RemainingColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
            console=console,
            transient=False,
        )
        self._figures: dict[str, float | str] = {}
        self._id: TaskID = self._bars.add_task(name, total=total, unit=unit, rate="", figures="")

    def advance(self, amount: float = 1.0, **figures: float | str) -> None:
        self._figures |= figures
        task = self._bars.tasks[0]
        rate = task.finished_speed or task.speed
        self._bars.update(
            self._id,
            advance=amount,
            rate=f"{_format_figure(rate)}/s" if rate else "",
            figures=format_figures(self._figures),
        )

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()
