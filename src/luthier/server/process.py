"""One server in one process: takes the port, says when it listens, and drains when it shall stop.

SIGTERM, SIGINT or the end of standard input begin the drain: ``/readyz`` and new requests are answered 503, requests
under way are finished within ``drain_seconds``, then the process goes. A second signal does not wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NoReturn

import uvicorn
from starlette.applications import Starlette

from luthier.foundation.core.errors import EnvironmentLacks
from luthier.foundation.schema.serving import ChatRuntime
from luthier.server.app import Service, build_app
from luthier.server.connection import make_connection_class
from luthier.server.extensions_table import EXTENSIONS
from luthier.server.observers import ExtensionMaker
from luthier.server.options import ServerOptions, check_options

__all__ = ["ServerOptions", "check_options", "open_listener", "serve_http"]

GRACE_SECONDS: Final = 5.0
"""For what remains once the runtime has stopped: writing the last bytes, closing connections."""

KEEP_ALIVE_SECONDS: Final = 75
STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def open_listener(options: ServerOptions) -> socket.socket:
    """Take the port. Cheap: do it before a model is loaded.

    Raises:
        RecipeError: What :func:`check_options` refuses.
        EnvironmentLacks: E-SRV-038 when the port is taken or the address is not this machine's.
    """
    check_options(options)
    host = options.host.strip("[]")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, options.port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        _refuse_address(error, options)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(options.max_connections)
    except OSError as error:
        listener.close()
        _refuse_address(error, options)
    return listener


def _refuse_address(error: OSError, options: ServerOptions) -> NoReturn:
    is_taken = error.errno == errno.EADDRINUSE
    raise EnvironmentLacks(
        "E-SRV-038",
        f"port {options.port} is taken by another program" if is_taken else "the server cannot listen at this address",
        got=f"{options.host}:{options.port}" + ("" if is_taken else f" ({error.strerror or error})"),
        allowed="a free port of this machine",
        fix="luthier serve --port 0",
        field="port",
    ) from error


def serve_http(
    runtime: ChatRuntime,
    options: ServerOptions,
    *,
    workspace: Path | None,
    listener: socket.socket | None = None,
    extensions: Sequence[ExtensionMaker] = EXTENSIONS,
) -> None:
    """Serve until told to stop, then drain and close the runtime. Blocks; call it in the main thread.

    Args:
        runtime: Who answers; closed at the end, however that comes.
        options: Address, keys, bounds, times.
        workspace: Folder that holds ``.luthier``, for metrics and feedback; None where there is none.
        listener: From :func:`open_listener`, where the port was taken early.
        extensions: What adds routes and observers.

    Raises:
        RecipeError: What :func:`check_options` refuses.
        EnvironmentLacks: E-SRV-038 when the port cannot be taken.
    """
    try:
        with listener or open_listener(options) as bound:
            app = build_app(runtime, options, workspace=workspace, extensions=extensions)
            service: Service = app.state.service
            try:
                asyncio.run(_serve(_make_server(app, options, bound), bound, runtime, service, options))
            finally:
                service.close()
    finally:
        runtime.close(drain_seconds=0.0)


class _Server(uvicorn.Server):
    """uvicorn's server, whose signals are ours and which says when it listens."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._announce()


def _make_server(app: Starlette, options: ServerOptions, listener: socket.socket) -> _Server:
    config = uvicorn.Config(
        app,
        http=make_connection_class(options),
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level=logging.ERROR,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(GRACE_SECONDS),
        backlog=options.max_connections,
    )
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return _Server(config, lambda: options.announce(f"http://{shown}:{port}/v1"))


async def _serve(
    server: _Server, listener: socket.socket, runtime: ChatRuntime, service: Service, options: ServerOptions
) -> None:
    stop, hurry = asyncio.Event(), asyncio.Event()
    _listen_for_stops(stop, hurry, until_stdin_closes=options.until_stdin_closes)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    await _wait_first(serving, asyncio.create_task(stop.wait()))
    if not serving.done():
        service.health.is_draining = True
        drain = asyncio.create_task(_drain(runtime, service, options.drain_seconds))
        await _wait_first(drain, asyncio.create_task(hurry.wait()))
        server.should_exit = True
        server.force_exit = hurry.is_set()
    await serving


def _listen_for_stops(stop: asyncio.Event, hurry: asyncio.Event, *, until_stdin_closes: bool) -> None:
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        (hurry if stop.is_set() else stop).set()

    if threading.current_thread() is threading.main_thread():
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, on_signal)
    if until_stdin_closes:
        threading.Thread(target=_read_to_end, args=(loop, stop), name="luthier-stdin", daemon=True).start()


def _read_to_end(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    with contextlib.suppress(OSError):  # a standard input that cannot be read has ended
        while os.read(0, 65_536):
            continue
    with contextlib.suppress(RuntimeError):  # the loop is closed: it stopped for another reason
        loop.call_soon_threadsafe(stop.set)


async def _drain(runtime: ChatRuntime, service: Service, seconds: float) -> None:
    """Have the runtime finish what runs, in a thread, since it blocks; then let the last bytes go out."""
    loop = asyncio.get_running_loop()
    is_closed = asyncio.Event()

    def close() -> None:
        try:
            runtime.close(drain_seconds=seconds)
        finally:
            with contextlib.suppress(RuntimeError):  # the loop is closed: a second signal did not wait
                loop.call_soon_threadsafe(is_closed.set)

    threading.Thread(target=close, name="luthier-drain", daemon=True).start()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds + GRACE_SECONDS):
            await is_closed.wait()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GRACE_SECONDS):
            while service.chat.count_open():
                await asyncio.sleep(0.02)


async def _wait_first(*tasks: asyncio.Task[object]) -> None:
    """Wait for the first of several; the others are given up unless they are the server itself."""
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks[1:]:
        task.cancel()
