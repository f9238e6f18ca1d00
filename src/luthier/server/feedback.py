"""``POST /v1/feedback``: what people say of an answer, named by the answer's id."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from luthier.api.feedback import FeedbackDesk
from luthier.api.telemetry import Watch
from luthier.foundation.core.errors import LuthierError
from luthier.server.bodies import read_body
from luthier.server.failures import answer_error, to_json_bytes
from luthier.server.options import ServerOptions
from luthier.server.strict_json import parse_json_object

BOUNDS: Final = ServerOptions(max_body_bytes=1_000_000)


def make_feedback_route(workspace: Path, watch: Watch, settle: Callable[[], Awaitable[None]]) -> Route:
    """Make the route.

    Args:
        workspace: The folder that holds ``.luthier``.
        watch: Knows which responses there were.
        settle: Waits until it knows those that were just given.
    """
    desk = FeedbackDesk(workspace, watch.find_response)

    def take(body: bytes) -> Response:
        taken = desk.take([parse_json_object(body)])
        piece = taken["feedback"][0]
        if taken["num_new"]:
            watch.count_feedback(piece["model"], piece["kind"])
        shown = {name: piece[name] for name in ("id", "response_id", "kind", "state")}
        answer = to_json_bytes({"object": "feedback", **shown})
        return Response(answer, status_code=201 if taken["num_new"] else 200, media_type="application/json")

    async def give_feedback(request: Request) -> Response:
        try:
            body = await read_body(request.scope, request.receive, BOUNDS)
            await settle()
            return await run_in_threadpool(take, body)
        except LuthierError as error:
            return answer_error(error)

    return Route("/v1/feedback", give_feedback, methods=["POST"])
