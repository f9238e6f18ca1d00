"""A server whose runtime answers at once: what a request then takes is the gateway's own. Usage: stub.py WORKSPACE.

It prints its address on stdout and ends when its standard input is closed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from luthier.foundation.schema.serving import ChatRequest, Delta, ServedModel
from luthier.server.process import ServerOptions, serve_http

NAME = "stub"


class StubAnswering:
    """One answer of one token, already there."""

    prompt_token_ids = (1, 2, 3)

    def __iter__(self) -> Iterator[Delta]:
        """Yield the only piece."""
        yield Delta(index=0, text="yes", token_ids=(4,), finish_reason="stop")

    def cancel(self) -> None:
        """Do nothing: it is over."""


class StubRuntime:
    """Implements ``ChatRuntime`` without a model."""

    def models(self) -> tuple[ServedModel, ...]:
        """List the one name."""
        return (ServedModel(name=NAME, ref=NAME, digest="0" * 64, base=NAME, max_positions=2048),)

    def submit(self, request: ChatRequest) -> StubAnswering:  # noqa: ARG002  every request has the same answer
        """Answer."""
        return StubAnswering()

    def is_ready(self) -> bool:
        """Say yes."""
        return True

    def close(self, *, drain_seconds: float) -> None:
        """Do nothing: nothing runs."""


def main(workspace: Path) -> None:
    """Serve until standard input is closed."""
    options = ServerOptions(port=0, until_stdin_closes=True, announce=lambda url: print(url, flush=True))
    serve_http(StubRuntime(), options, workspace=workspace)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
