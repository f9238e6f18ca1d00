"""A process with torch loaded that forks one training attempt a request: an attempt costs its steps, no imports.

Requests and answers are JSON lines on stdin and stdout. A request names the folder and, if the attempt is to be hit,
the signal and the moment: the n-th line of Python executed in the loop, in a save or in the file layer below it.
An attempt without a moment counts these lines, so that moments can be drawn from all there are.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from luthier.foundation.core.errors import LuthierError
from luthier.stages.train.interrupt import Interrupts
from tests.fixtures.train_jobs import FolderContext, make_job, train_job

SAVE_FILES = ("train/checkpoint.py", "engine/tensors_file.py", "core/files.py")
WATCHED_FILES = (*SAVE_FILES, "train/loop.py", "train/metrics.py", "train/optimizer.py", "train/guard.py")
LORA = {"type": "lora", "rank": 2, "dropout": 0.1}
JOB = {"num_rows": 9, "num_validation": 2, "evaluate_every": 3, "checkpoint_every": 2, "method": LORA}


class Moments:
    """Counts executed lines of the files above, and acts at one of them."""

    def __init__(self, at: int | None, act: Callable[[], None]) -> None:
        self.count = 0
        self.saving: list[int] = []
        self._at, self._act = at, act

    def trace(self, frame: FrameType, event: str, _argument: Any) -> Any:
        is_watched = event == "call" and frame.f_code.co_filename.endswith(WATCHED_FILES)
        return self._line if is_watched else None

    def _line(self, frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "line":
            self.count += 1
            if frame.f_code.co_filename.endswith(SAVE_FILES):
                self.saving.append(self.count)
            if self.count == self._at:
                self._act()
        return self._line


def attempt(request: dict[str, Any]) -> int:
    """Train in this process and leave what came of it in the folder."""
    folder = Path(request["folder"])
    moments = Moments(request.get("at"), lambda: os.kill(os.getpid(), request["signal"]))
    ctx = FolderContext(folder)
    result: dict[str, Any] = {}
    code = 0
    with Interrupts() as interrupts:
        try:
            sys.settrace(moments.trace)
            trained = train_job(make_job(folder, **JOB), ctx=ctx, interrupts=interrupts)
            sys.settrace(None)
            result["sha256"] = trained.weights_sha256
            interrupts.raise_if_received(state="every step is done and saved")
        except LuthierError as error:
            code, result["error"] = error.exit_code, str(error)
        finally:
            sys.settrace(None)
    result |= {"said": ctx.said, "lines": moments.count, "saving": moments.saving}
    (folder / "result.json").write_text(json.dumps(result))
    return code


def serve() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            try:
                code = attempt(request)
            except BaseException:  # noqa: BLE001  the child must not fall through into the server's loop
                traceback.print_exc()
                code = 99
            os._exit(code)
        _, status = os.waitpid(child, 0)
        print(json.dumps({"exit": os.waitstatus_to_exitcode(status)}), flush=True)  # noqa: T201  the protocol


if __name__ == "__main__":
    serve()
