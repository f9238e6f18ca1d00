"""What a server is told when it starts, and which of it is refused."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field

from luthier.foundation.core.errors import RecipeError


def _say_nothing(url: str) -> None:
    """Announce nothing."""


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """Address, keys, bounds and times of one server.

    Attributes:
        port: 0 takes a free one; ``announce`` says which.
        api_keys: Any of them opens the server; needed where the host is not loopback.
        max_body_bytes: Longest body of a request.
        max_messages: Most messages in one conversation.
        max_tokens_cap: Largest ``max_tokens`` that a request may ask for.
        max_n: Most answers to one request.
        max_connections: Open connections; one more is answered 503 at once.
        header_seconds: How long a client may take for a request's headers.
        body_seconds: How long a client may take for a request's body.
        write_seconds: How long a client may let an answer wait without reading.
        drain_seconds: How long requests under way may go on once the server shall stop.
        keep_content: Whether observers are told what was said.
        until_stdin_closes: Stop when standard input ends, as a child that ends with its parent.
        announce: Told the address (``http://HOST:PORT/v1``) once, as soon as connections are taken.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    max_body_bytes: int = 2_000_000
    max_messages: int = 1_000
    max_tokens_cap: int = 8_192
    max_n: int = 8
    max_connections: int = 256
    header_seconds: float = 10.0
    body_seconds: float = 20.0
    write_seconds: float = 30.0
    drain_seconds: float = 30.0
    keep_content: bool = False
    until_stdin_closes: bool = False
    announce: Callable[[str], None] = _say_nothing


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach a host name."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_options(options: ServerOptions) -> None:
    """Refuse what would be open to anybody or could never be reached; cheap, so call it before loading a model.

    Raises:
        RecipeError: E-SRV-029 for another host than loopback without keys, or a key that no client can send;
            E-SRV-037 for a port that is none.
    """
    if not 0 <= options.port <= 65_535:
        raise RecipeError(
            "E-SRV-037", "the port is no port", got=options.port, allowed="0 to 65535; 0 takes a free one",
            fix="luthier serve --port 8000", field="port",
        )  # fmt: skip
    if any(not key.isascii() or not key.isprintable() or not key.strip() or " " in key for key in options.api_keys):
        raise RecipeError(
            "E-SRV-029",
            "an API key is empty or has characters that a header cannot carry",
            allowed="printable ASCII without spaces",
            fix='export LUTHIER_API_KEY="$(openssl rand -hex 32)"',
            field="api_keys",
        )
    if not options.api_keys and not is_loopback(options.host):
        raise RecipeError(
            "E-SRV-029",
            "other machines could reach the server, and it has no API key",
            got=options.host,
            allowed="127.0.0.1, ::1 or localhost without keys; any host with one",
            fix="export LUTHIER_API_KEY=… and name it with --api-key-env LUTHIER_API_KEY, or leave --host out",
            field="host",
        )
