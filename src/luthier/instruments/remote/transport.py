"""JSON over HTTP: every request has an end in time and size, and every failure is one typed error."""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Self
from urllib.parse import urlsplit

import httpx2

from luthier.foundation.core.errors import EnvironmentLacks

CONNECT_SECONDS: Final = 10.0
MAX_ANSWER_BYTES: Final = 64 << 20
MAX_EVENT_BYTES: Final = 1 << 20
BUSY: Final = frozenset({429, 503})
MAX_PAUSE_SECONDS: Final = 60.0
EVENT: Final = b"data:"
LAST_EVENT: Final = b"[DONE]"


def is_loopback(url: str) -> bool:
    """Say whether an address is this machine's own, by its text alone."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Transport:
    """Speaks JSON with one address.

    Args:
        base_url: What paths are appended to, such as ``http://127.0.0.1:8000/v1``.
        timeout_seconds: Greatest time between two bytes of an answer.
        api_key: Sent as a bearer token where it is not empty; never shown.
        num_retries: How often a server that is busy (429, 503) is asked again.
        pause: Waits the seconds between two tries.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout_seconds: float,
        api_key: str = "",
        num_retries: int = 0,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Open a pool of connections; nothing is sent yet. A proxy of the environment never sees loopback."""
        self.base_url = base_url.rstrip("/")
        self._num_retries = num_retries
        self._pause = pause
        self._client = httpx2.Client(
            timeout=httpx2.Timeout(timeout_seconds, connect=CONNECT_SECONDS),
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            trust_env=not is_loopback(base_url),
            follow_redirects=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send a JSON object and return the one that comes back.

        Raises:
            EnvironmentLacks: E-DEP-006 when nobody answers in time, or not with a JSON object and status 200.
        """
        return self._exchange("POST", path, json=body)

    def get(self, path: str) -> dict[str, Any]:
        """Return the JSON object of a path; errors as in :meth:`post`."""
        return self._exchange("GET", path)

    def stream(self, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Send a JSON object and yield the objects of the events that come back, as they come.

        Raises:
            EnvironmentLacks: E-DEP-006 when nobody answers in time, or not with events that are JSON objects.
        """
        url = f"{self.base_url}{path}"
        try:
            with self._client.stream("POST", url, json=body) as response:
                chunks = _bound(url, response.iter_bytes())
                if response.status_code != httpx2.codes.OK:
                    _parse(url, response.status_code, b"".join(chunks))
                yield from _read_events(url, chunks)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise _refuse(url, f"{type(error).__name__}: {error}") from error

    def _exchange(self, verb: str, path: str, **content: Any) -> dict[str, Any]:  # noqa: ANN401  httpx's own
        url = f"{self.base_url}{path}"
        turn = 0
        while True:
            try:
                with self._client.stream(verb, url, **content) as response:
                    data = b"".join(_bound(url, response.iter_bytes()))
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                raise _refuse(url, f"{type(error).__name__}: {error}") from error
            if response.status_code not in BUSY or turn == self._num_retries:
                return _parse(url, response.status_code, data)
            self._pause(_find_pause(response.headers, turn))
            turn += 1


def _find_pause(headers: Mapping[str, str], turn: int) -> float:
    """Return how long a busy server wants to be left alone; one that does not say, twice as long each time."""
    told = headers.get("Retry-After", "")
    seconds = float(told) if told.isascii() and told.isdigit() else float(2**turn)
    return min(seconds, MAX_PAUSE_SECONDS)


def _bound(url: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Pass bytes on up to a limit."""
    num_bytes = 0
    for chunk in chunks:
        num_bytes += len(chunk)
        if num_bytes > MAX_ANSWER_BYTES:
            raise _refuse(url, f"an answer of more than {MAX_ANSWER_BYTES >> 20} MiB")
        yield chunk


def _read_events(url: str, chunks: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the objects of server-sent events up to the last; other lines, such as comments, say nothing to us."""
    for line in _split_lines(url, chunks):
        if not line.startswith(EVENT):
            continue
        data = line[len(EVENT) :].strip()
        if data == LAST_EVENT:
            return
        try:
            value = json.loads(data)
        except ValueError as error:  # not JSON, or not UTF-8
            raise _refuse(url, "an event that is no JSON") from error
        if not isinstance(value, dict) or "error" in value:
            raise _refuse(url, _find_message(value))
        yield value


def _split_lines(url: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
        if len(rest) > MAX_EVENT_BYTES:
            raise _refuse(url, f"an event of more than {MAX_EVENT_BYTES >> 20} MiB")
    yield rest


def _find_message(value: object) -> str:
    """Return what an error envelope says, or what came instead of one."""
    told = value.get("error", value) if isinstance(value, dict) else value
    return str(told.get("message", told) if isinstance(told, dict) else told)


def _parse(url: str, status: int, data: bytes) -> dict[str, Any]:
    try:
        value = httpx2.Response(status, content=data).json()
    except ValueError as error:  # not JSON, or not UTF-8
        raise _refuse(url, f"status {status} and no JSON") from error
    if status != httpx2.codes.OK or not isinstance(value, dict):
        raise _refuse(url, f"status {status}: {_find_message(value)}")
    return value


def _refuse(url: str, got: str) -> EnvironmentLacks:
    return EnvironmentLacks(
        "E-DEP-006",
        "an address does not answer as it should",
        got=got,
        origin=url,
        allowed="an answer of status 200 with a JSON object, in time",
        fix="start the server, or mend the address",
    )
