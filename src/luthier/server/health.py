"""``/healthz`` says that the process lives; ``/readyz`` says whether a request sent now would be answered."""

from __future__ import annotations

from typing import ClassVar

from starlette.requests import Request
from starlette.responses import Response

from luthier.foundation.schema.serving import ChatRuntime
from luthier.server.failures import to_json_bytes


class Health:
    """Two signs for whoever watches over the process; neither needs a key."""

    PATHS: ClassVar[frozenset[str]] = frozenset({"/healthz", "/readyz"})

    def __init__(self, runtime: ChatRuntime) -> None:
        """Take who answers."""
        self._runtime = runtime
        self.is_draining = False

    async def show_alive(self, _request: Request) -> Response:
        """Answer 200 as long as the event loop turns."""
        return _say(200, "alive")

    async def show_ready(self, _request: Request) -> Response:
        """Answer 200 when ready, 503 while models load, after the worker died, and while the server drains."""
        if self.is_draining:
            return _say(503, "draining")
        return _say(200, "ready") if self._runtime.is_ready() else _say(503, "not ready")


def _say(status: int, word: str) -> Response:
    return Response(to_json_bytes({"status": word}), status_code=status, media_type="application/json")
