"""Bodies of requests, read within bounds of kind, length and time."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from luthier.foundation.core.errors import ServeError
from luthier.server.options import ServerOptions


async def read_body(scope: Scope, receive: Receive, options: ServerOptions) -> bytes:
    """Read a JSON body; its length is checked before and while it is read, so nothing beyond the bound is kept.

    Raises:
        ServeError: E-SRV-021 when it is too long, E-SRV-022 when it comes too slowly, E-SRV-034 when it says that it
            is something else than JSON.
        ClientDisconnect: When the client is gone.
    """
    headers = Headers(scope=scope)
    _check_kind(headers.get("content-type", ""))
    declared = headers.get("content-length", "0")
    if declared.isdecimal() and int(declared[:20]) > options.max_body_bytes:
        raise _make_too_long(f"{declared[:20]} bytes", options.max_body_bytes)
    try:
        async with asyncio.timeout(options.body_seconds):
            return await _collect(receive, options.max_body_bytes)
    except TimeoutError as error:
        raise ServeError(
            "E-SRV-022",
            f"the body did not come within {options.body_seconds:g} seconds",
            allowed=f"the whole body within {options.body_seconds:g} seconds",
            fix="send the request again, or less at once",
        ) from error


async def _collect(receive: Receive, max_bytes: int) -> bytes:
    body = bytearray()
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise ClientDisconnect
        body += event.get("body", b"")
        if len(body) > max_bytes:
            raise _make_too_long(f"more than {max_bytes} bytes", max_bytes)
        if not event.get("more_body", False):
            return bytes(body)


def _check_kind(content_type: str) -> None:
    kind = content_type.partition(";")[0].strip().lower()
    if kind and kind != "application/json" and not kind.endswith("+json"):
        raise ServeError(
            "E-SRV-034",
            "the body is not said to be JSON",
            got=content_type,
            allowed="application/json",
            fix="send the header 'Content-Type: application/json'",
        )


def _make_too_long(got: str, max_bytes: int) -> ServeError:
    return ServeError(
        "E-SRV-021",
        "the body is too long",
        got=got,
        allowed=f"at most {max_bytes} bytes",
        fix="send fewer or shorter messages",
    )
