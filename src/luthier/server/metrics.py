"""``/metrics`` in Prometheus' text form, ``POST /v1/feedback``, and the observer behind both."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from luthier.api.telemetry import Served, Watch
from luthier.server.feedback import make_feedback_route
from luthier.server.observers import Extension, Hosting


def make_telemetry(hosting: Hosting) -> Extension:
    """Watch a server's requests, and let its metrics be read and feedback be given.

    ``/metrics`` stays behind the API key where there is one: it tells names and traffic.

    Raises:
        MissingExtra: E-ENV-001 where an endpoint for traces is set and OpenTelemetry is not installed.
    """
    served = Served(
        releases=lambda: {model.name: model.digest for model in hosting.runtime.models()},
        count_open=hosting.count_open,
        count_lost=hosting.count_lost,
    )
    return mount(Watch(served, workspace=hosting.workspace), hosting)


def mount(watch: Watch, hosting: Hosting) -> Extension:
    """Put a watch's routes and its observer together; feedback needs a workspace to lie in."""
    routes = [Route("/metrics", _make_metrics(watch), methods=["GET"])]
    if hosting.workspace is not None:
        routes.append(make_feedback_route(hosting.workspace, watch, hosting.settle))
    return Extension(routes=routes, observers=[watch], close=watch.close)


def _make_metrics(watch: Watch) -> Callable[[Request], Response]:
    def show_metrics(request: Request) -> Response:
        text, content_type = watch.render_metrics(request.headers.get("accept", ""))
        return Response(text, headers={"content-type": content_type})

    return show_metrics
