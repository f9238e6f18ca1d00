"""Ctrl-C and SIGTERM: asked for at once, obeyed between two steps, after saving."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Final, Self

from luthier.foundation.core.errors import Interrupted

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Remembers the first signal while the block runs; a second one has its usual effect at once.

    Outside the main thread, where Python delivers no signals, it never reports any.
    """

    def __init__(self) -> None:
        """Start without a signal."""
        self.received: int | None = None
        self._previous: dict[int, signal.Handlers] = {}

    def __enter__(self) -> Self:
        """Take over both signals."""
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._previous[number] = signal.signal(number, self._remember)  # type: ignore[assignment]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give both signals back."""
        self._give_back()

    def raise_if_received(self, *, state: str) -> None:
        """Stop here if a signal came.

        Args:
            state: What is safe on disk, as the end of a sentence.

        Raises:
            Interrupted: E-TRN-003, with exit code 130 or 143.
        """
        if self.received is None:
            return
        error = Interrupted(
            "E-TRN-003",
            f"training was interrupted by {signal.Signals(self.received).name}; {state}",
            fix="run the same command again: it goes on from there",
        )
        error.signal_number = self.received
        raise error

    def _remember(self, number: int, _frame: FrameType | None) -> None:
        self.received = number
        self._give_back()

    def _give_back(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()
