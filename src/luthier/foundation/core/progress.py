"""Progress of long work, as a protocol: stages report, faces draw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from types import TracebackType


class ProgressTask(Protocol):
    """One running bar. Use it as a context manager."""

    def advance(self, amount: float = 1.0, **figures: float | str) -> None:
        """Move forward and show current figures, such as ``loss`` or ``tokens_per_second``."""
        ...

    def __enter__(self) -> Self:
        """Show the bar."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar down."""
        ...


class Progress(Protocol):
    """Makes bars and says single sentences."""

    def task(self, name: str, *, total: float | None, unit: str = "") -> ProgressTask:
        """Begin a bar; ``total`` is None where the end is unknown."""
        ...

    def say(self, sentence: str) -> None:
        """Say one sentence that a person should see now."""
        ...


class _SilentTask:
    def advance(self, amount: float = 1.0, **figures: float | str) -> None:
        """Do nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing."""


class SilentProgress:
    """Shows nothing; keeps what was said, for tests."""

    def __init__(self) -> None:
        """Start with nothing said."""
        self.said: list[str] = []

    def task(self, name: str, *, total: float | None, unit: str = "") -> ProgressTask:  # noqa: ARG002  protocol
        """Return a bar that shows nothing."""
        return _SilentTask()

    def say(self, sentence: str) -> None:
        """Keep the sentence."""
        self.said.append(sentence)
