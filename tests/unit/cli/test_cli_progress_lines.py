"""Progress where nobody draws bars: lines with amounts and rates, few enough for a log, true when a task breaks off."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.cli import progress
from luthier.cli.progress import LINE_EVERY_SECONDS, LineProgress, format_figures, format_seconds, make_progress
from luthier.foundation.core.progress import SilentProgress


class Clock:
    """A clock that goes on only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress.time, "monotonic", made)
    return made


def test_a_pipe_gets_lines_and_no_escape_codes(clock: Clock) -> None:
    stream = io.StringIO()
    shown = make_progress(stream)
    with shown.task("read", total=3, unit="rows") as task:
        for _ in range(3):
            task.advance()
    shown.say("that is all")

    assert isinstance(shown, LineProgress)
    assert stream.getvalue() == "read: 3 of 3 rows  done\nthat is all\n"


def test_a_long_task_speaks_every_quarter_of_a_minute_and_no_more(clock: Clock) -> None:
    """600 advances over ten minutes: one line each 15 s, and the last."""
    stream = io.StringIO()
    with LineProgress(stream).task("train", total=600, unit="steps") as task:
        for _ in range(600):
            clock.now += 1.0
            task.advance()

    lines = stream.getvalue().splitlines()
    assert len(lines) == 600 / LINE_EVERY_SECONDS + 1
    assert lines[0] == "train: 15 of 600 steps  1/s  9:45 to go"
    assert lines[-1] == "train: 600 of 600 steps  1/s  done"


def test_a_task_that_breaks_off_says_how_far_it_came(clock: Clock) -> None:
    stream = io.StringIO()

    def work() -> None:
        with LineProgress(stream).task("pull", total=200, unit="MiB") as task:
            clock.now += 4.0
            task.advance(50, file="model.safetensors")
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        work()
    assert stream.getvalue() == "pull: 50 of 200 MiB  12.5/s  0:12 to go  file model.safetensors  stopped\n"


def test_without_a_total_there_is_a_rate_and_no_time_to_go(clock: Clock) -> None:
    stream = io.StringIO()
    with LineProgress(stream).task("count", total=None) as task:
        clock.now += 2.0
        task.advance(5000)

    assert stream.getvalue() == "count: 5,000  2,500/s  done\n"


def test_a_task_that_did_nothing_divides_by_nothing(clock: Clock) -> None:
    stream = io.StringIO()
    with LineProgress(stream).task("nothing", total=0, unit="rows"):
        pass
    assert stream.getvalue() == "nothing: 0 of 0 rows  done\n"


def test_the_newest_figure_of_each_name_is_shown(clock: Clock) -> None:
    stream = io.StringIO()
    with LineProgress(stream).task("train", total=2, unit="steps") as task:
        task.advance(1, loss=2.5, tokens_per_second=900.0)
        task.advance(1, loss=float("nan"))

    assert stream.getvalue() == "train: 2 of 2 steps  loss nan  tokens per second 900  done\n"


@pytest.mark.parametrize(
    ("figure", "shown"),
    [
        (0.000123456, "0.0001235"),
        (1.5, "1.5"),
        (2.0, "2"),
        (99.99, "99.99"),
        (100.4, "100"),
        (1e6, "1,000,000"),
        ("a", "a"),
    ],
)
def test_figures_have_the_digits_that_matter(figure: float | str, shown: str) -> None:
    assert format_figures({"some_name": figure}) == f"some name {shown}"


@given(st.integers(0, 400_000))
def test_a_duration_is_read_back_as_it_was(seconds: int) -> None:
    parts = [int(part) for part in format_seconds(seconds).split(":")]
    hours, minutes, rest = [0] * (3 - len(parts)) + parts

    assert hours * 3600 + minutes * 60 + rest == seconds
    assert rest < 60
    assert minutes < 60


def test_silence_takes_all_that_progress_takes() -> None:
    silent = SilentProgress()
    silent.say("unheard")
    with silent.task("quiet", total=3, unit="rows") as task:
        task.advance(2, loss=1.0)
        assert task is not None
