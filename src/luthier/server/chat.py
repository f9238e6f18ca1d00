"""``POST /v1/chat/completions``: read, check, hand to the runtime, write what comes, tell the observers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from luthier.foundation.core.clock import Clock
from luthier.foundation.core.errors import LuthierError
from luthier.foundation.schema.serving import ChatRuntime
from luthier.server.bodies import read_body
from luthier.server.chat_call import ChatCall, read_chat_call
from luthier.server.course import Course, Crew
from luthier.server.failures import CLIENT_GONE, answer_error, make_internal_error
from luthier.server.models import find_model
from luthier.server.notes import Notes
from luthier.server.observers import ObserverBoard
from luthier.server.options import ServerOptions
from luthier.server.replies import send_stream, send_whole
from luthier.server.strict_json import parse_json_object
from luthier.server.tracing import read_trace_parent
from luthier.server.wire import Head, make_response_id

SMALL_BODY_BYTES: Final = 65_536
"""A body up to this length is checked in the event loop: that takes less time than waking a thread may."""


class ChatEndpoint:
    """The ASGI application behind the path; one object for all requests."""

    def __init__(self, runtime: ChatRuntime, options: ServerOptions, board: ObserverBoard, clock: Clock) -> None:
        """Take who answers, the bounds, who looks on."""
        self._runtime = runtime
        self._options = options
        self._board = board
        self._clock = clock
        self._crew = Crew()
        self._num_open = 0

    def count_open(self) -> int:
        """Return how many requests are under way."""
        return self._num_open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whatever happens, its facts are told once."""
        parent = read_trace_parent(scope["headers"])
        notes = Notes(self._clock, scope["state"]["request_id"], trace_parent=parent)
        self._num_open += 1
        try:
            await self._answer(notes, scope, receive, send)
        except ClientDisconnect:
            notes.status = CLIENT_GONE
            raise
        except LuthierError as error:
            notes.refuse(error)
            await answer_error(error)(scope, receive, send)
        except BaseException:
            notes.refuse(make_internal_error())
            raise
        finally:
            self._num_open -= 1
            self._board.post(notes.to_facts(keep_content=self._options.keep_content))

    async def _answer(self, notes: Notes, scope: Scope, receive: Receive, send: Send) -> None:
        call = await self._read_call(scope, receive)
        model = find_model(self._runtime, call.request.model)
        notes.read(call, model)
        course = Course(self._crew, partial(self._runtime.submit, call.request), request_id=notes.request_id)
        try:
            async with _watch_client(receive, course, notes):
                notes.accept(await course.wait_begun(), make_response_id())
                head = Head(notes.response_id, int(notes.time), model)
                reply = send_stream if call.is_streaming else send_whole
                await reply(call, head, notes, course, send)
        finally:
            course.cancel()

    async def _read_call(self, scope: Scope, receive: Receive) -> ChatCall:
        body = await read_body(scope, receive, self._options)
        if len(body) <= SMALL_BODY_BYTES:
            return self._check_body(body)
        return await asyncio.to_thread(self._check_body, body)

    def _check_body(self, body: bytes) -> ChatCall:
        return read_chat_call(parse_json_object(body), self._options)


@asynccontextmanager
async def _watch_client(receive: Receive, course: Course, notes: Notes) -> AsyncIterator[None]:
    """Give the request up as soon as its client is gone, so that its slot is free for the next."""

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            continue
        if not notes.is_answered:
            notes.is_client_gone = True
            course.cancel()

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
