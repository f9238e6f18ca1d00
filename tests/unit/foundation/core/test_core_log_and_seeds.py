"""What a log line may not hold, and seeds, clock and progress."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from scipy import stats

from luthier.foundation.core.clock import FixedClock, SystemClock
from luthier.foundation.core.log import get_logger, redact, set_up_log
from luthier.foundation.core.progress import SilentProgress
from luthier.foundation.core.seeds import derive_seed

SECRET = "hunter2-Zq9"  # noqa: S105  made up

LINES = [
    f"api_key={SECRET}",
    f"OPENAI_API_KEY={SECRET}",
    f'{{"api-key": "{SECRET}", "a": 1}}',
    f"headers {{'Authorization': 'Bearer {SECRET}'}}",
    f"Authorization: Bearer {SECRET}",
    f"Authorization: Basic {SECRET}",
    f"sent bearer {SECRET} to the hub",
    f"password = '{SECRET} with a blank'",
    f"HF_TOKEN:{SECRET}",
    f"postgresql://me:{SECRET}@host/base",
    f"postgresql://me:p@{SECRET}@host/base",
    f"http://host/v1?token={SECRET}&model=x",
]


@pytest.mark.parametrize("line", LINES)
def test_no_secret_passes_the_log(line: str) -> None:
    assert SECRET not in redact(line)


@pytest.mark.parametrize(
    "line", ["num_tokens=512 batch_tokens: 3", "http://127.0.0.1:80/a", "token count 5", "E-REC-001: unknown key"]
)
def test_what_is_no_secret_stays(line: str) -> None:
    assert redact(line) == line


@pytest.fixture
def fresh_log() -> Iterator[None]:
    logger = logging.getLogger("luthier")
    before = (logger.handlers[:], logger.propagate, logger.level)
    logger.handlers = []
    yield
    logger.handlers, logger.propagate = before[0], before[1]
    logger.setLevel(before[2])


@pytest.mark.usefixtures("fresh_log")
def test_a_secret_in_an_argument_or_a_traceback_is_taken_out(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_log(logging.INFO)

    get_logger("stages.train").info("calling with %s", f"api_key={SECRET}")
    try:
        int(f"token={SECRET}")
    except ValueError:
        get_logger("stages.train").exception("failed")

    written = capsys.readouterr()
    assert written.out == ""
    assert SECRET not in written.err
    assert "INFO luthier.stages.train: calling with api_key=[redacted]" in written.err
    assert "ValueError: invalid literal" in written.err


@pytest.mark.usefixtures("fresh_log")
def test_setting_up_twice_writes_each_line_once_and_takes_the_new_level(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_log(logging.WARNING)
    set_up_log(logging.INFO)

    get_logger("x").info("once")

    assert capsys.readouterr().err.count("once") == 1


def test_a_seed_depends_on_every_name_and_on_their_order() -> None:
    seeds = {
        derive_seed(0, "train", "order"),
        derive_seed(0, "order", "train"),
        derive_seed(0, "train", "order", 1),
        derive_seed(0, "trainorder"),
        derive_seed(1, "train", "order"),
    }

    assert len(seeds) == 5


def test_a_seed_is_the_same_on_every_machine() -> None:
    r"""Half of sha256's first eight bytes: `printf '0\037train' | sha256sum`."""
    assert derive_seed(0, "train") == 0x3E649F0F91CBC988 >> 1


def test_seeds_spread_evenly_over_their_range() -> None:
    """Kolmogorov and Smirnov find no difference from a uniform draw: a lost or doubled bit would halve the range."""
    draws = [derive_seed(0, "spread", i) / 2**63 for i in range(2000)]

    assert stats.kstest(draws, "uniform").pvalue > 0.01


def test_a_fixed_clock_moves_only_when_told() -> None:
    clock = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))

    clock.advance(90)

    assert clock.now() == datetime(2026, 1, 1, 0, 1, 30, tzinfo=UTC)
    assert clock.monotonic() == 90


def test_the_system_clock_knows_its_zone_and_never_runs_backwards() -> None:
    clock = SystemClock()

    assert clock.now().tzinfo is UTC
    assert clock.monotonic() <= clock.monotonic()


def test_silent_progress_keeps_what_was_said() -> None:
    progress = SilentProgress()

    with progress.task("reading", total=None) as task:
        task.advance(2, rows=2)
    progress.say("an older checkpoint was taken")

    assert progress.said == ["an older checkpoint was taken"]
