"""The stage boundary: every way in which a stage can end badly becomes one typed error, and is on record."""

from __future__ import annotations

import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

from luthier.foundation.core.errors import Interrupted, LuthierError, StoreError
from luthier.foundation.core.files import FileSystem, disk_errors, write_atomic
from luthier.foundation.core.log import get_logger, redact
from luthier.foundation.schema.protocols import Waiting
from luthier.foundation.store.executions import State
from luthier.lifecycle.stages_table import StageSpec

LOGGER: Final = get_logger("lifecycle")
FAILURE_NAME: Final = "failure.txt"


class Terminated(BaseException):
    """SIGTERM arrived. No ``Exception``, so that no stage catches it by mistake."""


class CallWaits(Exception):  # noqa: N818  control flow, not an error
    """A stage that was called waits; so does the one that called it."""

    def __init__(self, waiting: Waiting) -> None:
        """Carry what is waited for through the calling stage."""
        super().__init__(waiting.detail)
        self.waiting = waiting


@contextmanager
def guard_stage(
    spec: StageSpec, *, folder: Path, fs: FileSystem, note: Callable[[State, dict[str, Any]], None]
) -> Iterator[None]:
    """Let known errors pass and turn unknown ones into the stage's own; put each on record.

    Args:
        spec: The stage.
        folder: Where the traceback of an unknown error goes.
        fs: File system to write through.
        note: Told the state and the facts before the error goes on.

    Raises:
        Interrupted: E-LIF-005 after Ctrl-C or SIGTERM.
        LuthierError: The stage's own, or E-LIF-003 of the class ``spec.failure``.
    """
    try:
        with disk_errors(folder, f"the work of stage {spec.name}"):
            yield
    except Interrupted as error:
        _note(note, "interrupted", error.to_dict())
        raise
    except LuthierError as error:
        _note(note, "failed", error.to_dict())
        raise
    except (KeyboardInterrupt, Terminated) as error:
        interrupted = describe_interruption(error, f"the stage {spec.name}")
        _note(note, "interrupted", interrupted.to_dict())
        raise interrupted from error
    except Exception as error:  # the stage boundary: nothing leaves a stage untyped
        failure = _describe_failure(spec, error, folder / FAILURE_NAME)
        _keep_traceback(folder / FAILURE_NAME, error, fs)
        _note(note, "failed", failure.to_dict())
        raise failure from error


@contextmanager
def interruptible(what: str) -> Iterator[None]:
    """Make SIGTERM an interruption like Ctrl-C while the block runs, and both a typed error.

    Raises:
        Interrupted: E-LIF-005 when one arrives between two stages.
    """
    is_main = threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGTERM, _terminate) if is_main else None
    try:
        yield
    except (KeyboardInterrupt, Terminated) as error:
        raise describe_interruption(error, what) from error
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, previous)


def describe_interruption(error: BaseException, what: str) -> Interrupted:
    """Return the typed error of a Ctrl-C or a SIGTERM."""
    number = signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT
    interrupted = Interrupted(
        "E-LIF-005",
        f"{number.name} stopped {what}; what was saved before is intact",
        fix="run the same command again: it goes on from there",
    )
    interrupted.signal_number = int(number)
    return interrupted


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise Terminated


def _describe_failure(spec: StageSpec, error: Exception, place: Path) -> LuthierError:
    return spec.failure(
        "E-LIF-003",
        f"the stage {spec.name} failed unexpectedly: {type(error).__name__}",
        got=redact(str(error)) or type(error).__name__,
        origin=str(place),
        fix="run the same command again; if it fails again, report it with the file named above",
    )


def _keep_traceback(place: Path, error: Exception, fs: FileSystem) -> None:
    text = redact("".join(traceback.format_exception(error)))
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(place, text.encode(errors="replace"), fs=fs)
    except OSError as problem:  # the failure itself matters more than its file
        LOGGER.warning("the traceback could not be written to %s: %s\n%s", place, problem, text)


def _note(note: Callable[[State, dict[str, Any]], None], state: State, facts: dict[str, Any]) -> None:
    try:
        note(state, facts)
    except StoreError as problem:  # the reason why the stage ended matters more than its record
        LOGGER.warning("the end of the stage could not be recorded: %s", problem.code)
