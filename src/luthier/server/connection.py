"""One client's connection: bounded in number, in how slowly headers may come, and in how long answers may lie unread.

uvicorn bounds none of the three, and answers broken HTTP as plain text; the rest of HTTP/1.1 is its own.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import cast

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from luthier.foundation.core.errors import ServeError
from luthier.server.failures import describe_error, find_status, to_json_bytes
from luthier.server.options import ServerOptions

REASONS = {400: "Bad Request", 408: "Request Timeout", 503: "Service Unavailable"}


class Connection(H11Protocol):
    """uvicorn's connection with our bounds; made by :func:`make_connection_class`."""

    options: ServerOptions

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection; where there are too many, one that waits for a next request goes, or else this one."""
        super().connection_made(transport)
        self._headers = _Deadline(self.loop, self.options.header_seconds, self._refuse_slowness)
        self._reading = _Deadline(self.loop, self.options.write_seconds, transport.abort)
        if len(self.connections) > self.options.max_connections and not self._take_idle_place():
            self._refuse(
                ServeError(
                    "E-SRV-033",
                    "too many connections are open",
                    allowed=f"at most {self.options.max_connections}",
                    fix="send the request again in a few seconds",
                )
            )
        else:
            self._headers.start()

    def data_received(self, data: bytes) -> None:
        """Read; the time for headers runs from their first byte, or from the beginning, to their last."""
        if self.transport.is_closing():
            return
        if self._is_idle():
            self._headers.start()
        super().data_received(data)
        if not self._is_idle():
            self._headers.stop()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let the timers go."""
        self._headers.stop()
        self._reading.stop()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Give a client that does not read its time, then drop it; its request is then cancelled like any other."""
        super().pause_writing()
        self._reading.start()

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        self._reading.stop()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP in the form of all our errors; in the midst of an answer, only close."""
        if not self._is_idle() and self.cycle.response_started:
            self.transport.close()
            return
        self._refuse(
            ServeError(
                "E-SRV-030",
                "the request is not HTTP/1.1",
                got=msg,
                allowed="POST /v1/chat/completions HTTP/1.1, with the usual headers",
                fix="curl http://HOST:PORT/v1/models",
            )
        )

    def _take_idle_place(self) -> bool:
        """Close a connection that has had its answer and waits for another request; say whether there was one."""
        for other in self.connections:
            if isinstance(other, Connection) and other.is_kept_alive():
                other.transport.close()
                return True
        return False

    def is_kept_alive(self) -> bool:
        """Say whether the connection is open only because its client may ask again."""
        return bool(self.cycle) and self.cycle.response_complete and not self.transport.is_closing()

    def _is_idle(self) -> bool:
        cycle = cast("RequestResponseCycle | None", self.cycle)  # None until the first request, whatever its type says
        return cycle is None or cycle.response_complete

    def _refuse_slowness(self) -> None:
        seconds = f"{self.options.header_seconds:g} seconds"
        self._refuse(
            ServeError(
                "E-SRV-022",
                f"the headers did not come within {seconds}",
                allowed=f"all headers within {seconds}",
                fix="send the request again",
            )
        )

    def _refuse(self, error: ServeError) -> None:
        status = find_status(error)
        body = to_json_bytes(describe_error(error))
        lines = [
            f"HTTP/1.1 {status} {REASONS[status]}",
            "content-type: application/json",
            f"content-length: {len(body)}",
            f"x-request-id: {uuid.uuid4()}",
            "connection: close",
        ]
        if not self.transport.is_closing():
            self.transport.write("\r\n".join([*lines, "", ""]).encode("ascii") + body)
            self.transport.close()


class _Deadline:
    """A time by which something must have happened; starting it again while it runs changes nothing."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float, act: Callable[[], None]) -> None:
        self._loop = loop
        self._seconds = seconds
        self._act = act
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._timer = self._timer or self._loop.call_later(self._seconds, self._act)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def make_connection_class(options: ServerOptions) -> type[Connection]:
    """Return the class of one server's connections."""
    return type("BoundedConnection", (Connection,), {"options": options})
