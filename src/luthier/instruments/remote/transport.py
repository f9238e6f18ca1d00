"""JSON over HTTP: every request has an end in time and size, and every failure is one typed error."""

from __future__ import annotations

import ipaddress
from typing import Any, Final, Self
from urllib.parse import urlsplit

import httpx2

from luthier.foundation.core.errors import EnvironmentLacks

CONNECT_SECONDS: Final = 10.0
MAX_ANSWER_BYTES: Final = 64 << 20


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
    """

    def __init__(self, base_url: str, *, timeout_seconds: float, api_key: str = "") -> None:
        """Open a pool of connections; nothing is sent yet. A proxy of the environment never sees loopback."""
        self.base_url = base_url.rstrip("/")
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

    def _exchange(self, verb: str, path: str, **content: Any) -> dict[str, Any]:  # noqa: ANN401  httpx's own
        url = f"{self.base_url}{path}"
        try:
            with self._client.stream(verb, url, **content) as response:
                data = bytearray()
                for chunk in response.iter_bytes():
                    data += chunk
                    if len(data) > MAX_ANSWER_BYTES:
                        raise _refuse(url, f"an answer of more than {MAX_ANSWER_BYTES >> 20} MiB")
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise _refuse(url, f"{type(error).__name__}: {error}") from error
        return _parse(url, response.status_code, bytes(data))


def _parse(url: str, status: int, data: bytes) -> dict[str, Any]:
    try:
        value = httpx2.Response(status, content=data).json()
    except ValueError as error:  # not JSON, or not UTF-8
        raise _refuse(url, f"status {status} and no JSON") from error
    if status != httpx2.codes.OK or not isinstance(value, dict):
        told = value.get("error", value) if isinstance(value, dict) else value
        raise _refuse(url, f"status {status}: {told.get('message', told) if isinstance(told, dict) else told}")
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
