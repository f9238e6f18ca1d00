"""What both of TRL's trainers report to: seconds and loss of every step."""

from __future__ import annotations

import time
from typing import Any

from transformers import TrainerCallback


class Stopwatch(TrainerCallback):
    """Seconds and loss of every optimizer step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.losses: list[float] = []
        self._begun = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Start the watch."""
        self._begun = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Stop the watch."""
        self.seconds.append(time.perf_counter() - self._begun)

    def on_log(self, _args: Any, _state: Any, _control: Any, logs: Any = None, **_: Any) -> None:
        """Keep the loss."""
        if "loss" in logs:
            self.losses.append(float(logs["loss"]))
