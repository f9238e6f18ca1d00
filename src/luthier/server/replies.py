"""The two ways in which an answer goes out: whole, or as a stream of events while it grows."""

from __future__ import annotations

from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import Send

from luthier.foundation.core.errors import LuthierError
from luthier.server.chat_call import ChatCall
from luthier.server.course import Course
from luthier.server.failures import describe_error
from luthier.server.notes import Notes
from luthier.server.wire import ChunkWriter, Head, to_event, write_completion

JSON_HEADERS: Final = [(b"content-type", b"application/json")]
STREAM_HEADERS: Final = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store")]


async def send_whole(call: ChatCall, head: Head, notes: Notes, course: Course, send: Send) -> None:
    """Wait for all answers, then send them at once.

    Raises:
        LuthierError: What the runtime failed with, E-SRV-004 when the server stopped before the end.
        ClientDisconnect: When nobody waits any more.
    """
    async for delta in course:
        notes.add(delta)
    _check_end(notes)
    content = write_completion(
        head,
        notes.answers,
        notes.prompt_token_ids,
        with_logprobs=call.request.top_logprobs is not None,
        with_token_ids=call.with_token_ids,
    )
    headers = [*JSON_HEADERS, (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await _send_last(content, notes, send)


async def send_stream(call: ChatCall, head: Head, notes: Notes, course: Course, send: Send) -> None:
    """Send each piece as an event of its own.

    What fails before the first piece is raised, so that it has an HTTP status; what fails later is sent as an event
    ``{"error": …}``, and the stream then ends without ``[DONE]``.

    Raises:
        LuthierError: What the runtime failed with before the first piece.
        ClientDisconnect: When nobody listens any more.
    """
    writer = ChunkWriter(
        head,
        notes.prompt_token_ids,
        with_usage=call.with_usage,
        with_logprobs=call.request.top_logprobs is not None,
        with_token_ids=call.with_token_ids,
    )
    is_started = False
    try:
        async for delta in course:
            notes.add(delta)
            if not is_started:
                await send({"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS})
                is_started = True
            if delta.finish_reason != "cancelled" and (events := writer.write_delta(delta)):
                await send({"type": "http.response.body", "body": events, "more_body": True})
        _check_end(notes)
    except LuthierError as error:
        if not is_started:
            raise
        notes.refuse(error)
        await _send_last(to_event(describe_error(error)), notes, send)
    else:
        await _send_last(writer.write_end(notes.num_completion_tokens), notes, send)


def _check_end(notes: Notes) -> None:
    if notes.is_client_gone:
        raise ClientDisconnect
    notes.check_whole()


async def _send_last(content: bytes, notes: Notes, send: Send) -> None:
    notes.is_answered = True
    await send({"type": "http.response.body", "body": content})
