"""``GET /v1/models`` and ``GET /v1/models/NAME``: what is served."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from luthier.foundation.core.errors import ServeError
from luthier.foundation.schema.serving import ChatRuntime, ServedModel
from luthier.server.failures import to_json_bytes
from luthier.server.wire import write_model


def find_model(runtime: ChatRuntime, name: str) -> ServedModel:
    """Find a served model.

    Raises:
        ServeError: E-SRV-001; it shows the name without what could move a cursor.
    """
    for model in runtime.models():
        if model.name == name:
            return model
    raise ServeError(
        "E-SRV-001",
        "no such model is served here",
        got=name,
        allowed="a name that GET /v1/models lists",
        fix="curl -s http://HOST:PORT/v1/models",
        field="model",
    )


class ModelsEndpoint:
    """Lists what is served, as the runtime says at that moment."""

    def __init__(self, runtime: ChatRuntime) -> None:
        """Take who answers."""
        self._runtime = runtime

    async def list(self, _request: Request) -> Response:
        """Answer with all models."""
        models = [write_model(model) for model in self._runtime.models()]
        return Response(to_json_bytes({"object": "list", "data": models}), media_type="application/json")

    async def show(self, request: Request) -> Response:
        """Answer with one model.

        Raises:
            ServeError: E-SRV-001.
        """
        model = find_model(self._runtime, request.path_params["name"])
        return Response(to_json_bytes(write_model(model)), media_type="application/json")
