"""The application: which path is answered by what. No sockets, no signals (``process.py``), no tensors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from luthier.foundation.core.clock import Clock, SystemClock
from luthier.foundation.core.errors import ServeError
from luthier.foundation.schema.serving import ChatRuntime
from luthier.server.boundary import Boundary
from luthier.server.chat import ChatEndpoint
from luthier.server.extensions_table import EXTENSIONS
from luthier.server.failures import answer_error
from luthier.server.health import Health
from luthier.server.models import ModelsEndpoint
from luthier.server.observers import Extension, ExtensionMaker, Hosting, ObserverBoard
from luthier.server.options import ServerOptions


class Service:
    """What stands behind one application's routes, so that whoever runs it can drain it and close it."""

    def __init__(self, health: Health, chat: ChatEndpoint, board: ObserverBoard) -> None:
        """Gather the parts that outlive a request."""
        self.health = health
        self.chat = chat
        self.board = board
        self.extensions: Sequence[Extension] = ()

    def close(self) -> None:
        """Tell the observers what still waits, then let the extensions close what they hold."""
        self.board.close()
        for extension in self.extensions:
            extension.close()


def build_app(
    runtime: ChatRuntime,
    options: ServerOptions,
    *,
    workspace: Path | None = None,
    extensions: Sequence[ExtensionMaker] = EXTENSIONS,
    clock: Clock | None = None,
) -> Starlette:
    """Put the application together; its :class:`Service` is ``app.state.service``.

    Args:
        runtime: Who answers.
        options: Bounds, times, keys.
        workspace: Folder that holds ``.luthier``, for the extensions; None where there is none.
        extensions: What adds routes and observers.
        clock: Tells the time; the machine's own where None.
    """
    board = ObserverBoard()
    health = Health(runtime)
    chat = ChatEndpoint(runtime, options, board, clock or SystemClock())
    service = Service(health, chat, board)
    hosting = Hosting(
        runtime=runtime,
        workspace=workspace,
        keep_content=options.keep_content,
        count_lost=board.count_lost,
        count_open=chat.count_open,
        settle=board.settle,
    )
    service.extensions = tuple(make(hosting) for make in extensions)
    board.observers += [observer for extension in service.extensions for observer in extension.observers]
    open_paths = health.PATHS.union(*(extension.open_paths for extension in service.extensions))
    app = Starlette(
        routes=[
            *_list_routes(runtime, health, chat),
            *(r for extension in service.extensions for r in extension.routes),
        ],
        middleware=[Middleware(Boundary, options=options, open_paths=open_paths)],
        exception_handlers={HTTPException: _answer_theirs},
    )
    app.router.redirect_slashes = False
    app.state.service = service
    return app


def _list_routes(runtime: ChatRuntime, health: Health, chat: ChatEndpoint) -> list[BaseRoute]:
    models = ModelsEndpoint(runtime)
    return [
        Route("/healthz", health.show_alive),
        Route("/readyz", health.show_ready),
        Route("/v1/models", models.list),
        Route("/v1/models/{name:path}", models.show),
        Route("/v1/chat/completions", chat, methods=["POST"]),
    ]


async def _answer_theirs(request: Request, error: Exception) -> Response:
    """Put Starlette's own refusals, no such path and no such method, into our form."""
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == 405:
        allowed = Headers(error.headers).get("allow", "")
        refused = answer_error(
            ServeError(
                "E-SRV-036",
                "the path does not take this method",
                got=request.method,
                allowed=allowed,
                fix="send one of them",
            )
        )
        refused.headers["allow"] = allowed
        return refused
    return answer_error(
        ServeError(
            "E-SRV-031",
            "there is nothing at this path",
            got=request.url.path,
            allowed="/v1/chat/completions, /v1/models, /healthz, /readyz",
            fix="set the client's base_url to http://HOST:PORT/v1",
        )
    )
