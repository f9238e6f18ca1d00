"""What every request passes first and every answer last: its id, the key, where it comes from, errors nobody knows."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import uuid
from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from luthier.foundation.core.errors import LuthierError, ServeError
from luthier.foundation.core.log import get_logger
from luthier.server.failures import answer_error, make_internal_error
from luthier.server.options import ServerOptions, is_loopback

LOG: Final = get_logger("server")
SANE_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
LINGER_BYTES: Final = 64 * 2**20
LINGER_SECONDS: Final = 5.0
LINGER_IDLE_SECONDS: Final = 1.0


class Boundary:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, *, options: ServerOptions, open_paths: Collection[str]) -> None:
        """Take what keys open the server and which paths need none."""
        self._app = app
        self._options = options
        self._open_paths = frozenset(open_paths)
        self._key_digests = [_digest(key) for key in options.api_keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request through, or answer it here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        exchange = _Exchange(headers, receive, send)
        scope.setdefault("state", {})["request_id"] = exchange.request_id
        try:
            self._check_place(headers)
            self._check_key(scope["path"], headers)
            await self._app(scope, exchange.receive, exchange.send)
        except ClientDisconnect:
            return
        except LuthierError as error:
            await self._answer(error, scope, exchange)
        except Exception:  # the request boundary: what nobody knows becomes a 500 and a line in the log
            LOG.exception("request %s met an unknown error", exchange.request_id)
            await self._answer(make_internal_error(), scope, exchange)

    async def _answer(self, error: LuthierError, scope: Scope, exchange: _Exchange) -> None:
        if not exchange.is_started:
            await answer_error(error)(scope, exchange.receive, exchange.send)

    def _check_key(self, path: str, headers: Headers) -> None:
        if not self._key_digests or path in self._open_paths:
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        digest = _digest(given.strip()) if scheme.lower() == "bearer" else b""
        matches = [hmac.compare_digest(digest, known) for known in self._key_digests]  # all, so that time tells none
        if not any(matches):
            raise ServeError(
                "E-SRV-028",
                "the API key is missing or wrong",
                allowed="the header 'Authorization: Bearer KEY' with a key of this server",
                fix="set OPENAI_API_KEY to the server's key",
            )

    def _check_place(self, headers: Headers) -> None:
        """Without a key, pages of other sites that a browser on this machine shows must reach nothing."""
        if self._key_digests:
            return
        host = headers.get("host", "")
        origin = headers.get("origin")
        if is_loopback(_find_name(f"//{host}")) and (origin is None or urlsplit(origin).netloc == host):
            return
        raise ServeError(
            "E-SRV-035",
            "the request comes by another name than this machine's, or from a page of another site",
            got=f"Host {host}" + (f", Origin {origin}" if origin is not None else ""),
            allowed="http://127.0.0.1:PORT or http://localhost:PORT; any name once the server has an API key",
            fix="luthier serve --api-key-env LUTHIER_API_KEY",
        )


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8")).digest()


def _find_name(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:  # brackets that hold no IPv6 address
        return ""


class _Exchange:
    """One request and its answer: puts the id on the answer, and lets a refused client finish sending.

    Closing a connection while the client still sends makes the kernel throw away the answer with the rest.
    """

    def __init__(self, headers: Headers, receive: Receive, send: Send) -> None:
        given = headers.get("x-request-id", "")
        self.request_id = given if SANE_ID.fullmatch(given) else str(uuid.uuid4())
        self.is_started = False
        self._receive = receive
        self._send = send
        self._has_rest = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        self._may_linger = "expect" not in headers
        self._is_cut_short = False

    async def receive(self) -> Message:
        event = await self._receive()
        if not event.get("more_body", False):
            self._has_rest = False
        return event

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.is_started = True
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = self.request_id
            self._is_cut_short = self._has_rest
            if self._is_cut_short:
                headers["connection"] = "close"
        elif self._is_cut_short and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._linger()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    async def _linger(self) -> None:
        num_bytes = 0
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                while self._has_rest and self._may_linger and num_bytes < LINGER_BYTES:
                    async with asyncio.timeout(LINGER_IDLE_SECONDS):
                        num_bytes += len((await self.receive()).get("body", b""))
        except TimeoutError:
            return
