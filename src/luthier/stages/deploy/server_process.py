"""Start ``luthier serve`` as a process of its own and ask it over HTTP. It ends with this process, also when killed."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from luthier.foundation.core.errors import DeployError
from luthier.instruments.remote.clients.openai_compatible import OpenAICompatible, ServedAnswer
from luthier.instruments.remote.transport import Transport
from luthier.stages.deploy.served import ANSWER_TOKENS, Prompt

SERVE: Final = (sys.executable, "-m", "luthier", "serve")
OPTIONS: Final = ("--host", "127.0.0.1", "--port", "0", "--json", "--until-stdin-closes")
ASKED_AT_ONCE: Final = 16
"""The server holds a cache of so many rows beside its model: 740 MB at 1,000 tokens of SmolLM2-135M in float32."""
READY_SECONDS: Final = 300.0
ANSWER_SECONDS: Final = 600.0
END_SECONDS: Final = 30.0
SHOWN_LOG_CHARACTERS: Final = 300


@dataclass(frozen=True)
class ServerProcess:
    """Serves a folder and asks it.

    Attributes:
        place: Where the process runs and its log lies; inside the workspace, so that it finds bases there.
        command: What starts it; the folder and options follow.
    """

    place: Path
    command: Sequence[str] = SERVE

    def __call__(self, folder: Path, prompts: Sequence[Prompt]) -> list[ServedAnswer]:
        """Serve a folder, ask every prompt and end the process.

        Raises:
            DeployError: E-DEP-003 when the server does not start.
            EnvironmentLacks: E-DEP-006 when it does not answer.
        """
        with (
            self.running(folder) as (url, model),
            Transport(url, timeout_seconds=ANSWER_SECONDS) as transport,
            ThreadPoolExecutor(max_workers=ASKED_AT_ONCE) as pool,
        ):
            client = OpenAICompatible(transport, model)
            return list(
                pool.map(lambda prompt: client.answer(prompt.messages, prompt.tools, max_tokens=ANSWER_TOKENS), prompts)
            )

    @contextmanager
    def running(self, folder: Path) -> Iterator[tuple[str, str]]:
        """Give the address and the served model's name while the process runs.

        Raises:
            DeployError: E-DEP-003 when it does not say within five minutes that it is ready.
        """
        log = self.place / "server.log"
        command = [*self.command, str(folder.absolute()), *OPTIONS]
        with log.open("wb") as talk:
            process = subprocess.Popen(  # noqa: S603  our own interpreter and options
                command,
                cwd=self.place,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=talk,
                env={**os.environ, "NO_COLOR": "1", "LUTHIER_TELEMETRY": "off"},  # probes are no traffic
            )
        try:
            yield self._wait_until_ready(process, command, log)
        finally:
            _end(process)

    def _wait_until_ready(self, process: subprocess.Popen[bytes], command: list[str], log: Path) -> tuple[str, str]:
        """Read the one line that the server prints; a clock of its own ends a process that never does."""
        clock = threading.Timer(READY_SECONDS, process.kill)
        clock.start()
        try:
            line = process.stdout.readline() if process.stdout else b""
        finally:
            clock.cancel()
        try:
            told = json.loads(line)
            first = told["models"][0]
            return str(told["url"]), str(first if isinstance(first, str) else first.get("name") or first["id"])
        except (ValueError, KeyError, IndexError, TypeError) as error:
            said = log.read_text(encoding="utf-8", errors="replace").strip()[-SHOWN_LOG_CHARACTERS:]
            raise DeployError(
                "E-DEP-003",
                "the server that the certificate asks did not start",
                got=said or line.decode(errors="replace") or "it ended without a word",
                origin=str(log),
                allowed="one JSON line with url and models on stdout",
                fix=shlex.join(command),
            ) from error


def _end(process: subprocess.Popen[bytes]) -> None:
    """Close the pipe that the server watches; one that does not end by itself is ended."""
    if process.stdin:
        process.stdin.close()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout:
        process.stdout.close()
