"""Errors on the wire: which status each code has, and OpenAI's envelope around our parts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from starlette.responses import Response

from luthier.foundation.core.errors import LuthierError, ServeError, shorten

STATUSES: Final[Mapping[str, int]] = {
    "E-SRV-001": 404,  # unknown model
    "E-SRV-002": 400,  # the prompt leaves no room
    "E-SRV-003": 429,  # queue full
    "E-SRV-004": 503,  # draining
    "E-SRV-005": 400,  # the template refuses the conversation
    "E-SRV-006": 500,  # the worker died
    "E-SRV-007": 400,  # more answers than are computed together
    "E-SRV-020": 400,
    "E-SRV-021": 413,
    "E-SRV-022": 408,
    "E-SRV-023": 400,
    "E-SRV-024": 400,
    "E-SRV-025": 400,
    "E-SRV-026": 400,
    "E-SRV-027": 400,
    "E-SRV-028": 401,
    "E-SRV-030": 400,
    "E-SRV-031": 404,
    "E-SRV-032": 500,
    "E-SRV-033": 503,
    "E-SRV-034": 415,
    "E-SRV-035": 403,
    "E-SRV-036": 405,
    "E-MON-021": 404,  # feedback on an unknown response
    "E-MON-022": 409,  # feedback needs what was said, and it is not kept
}
BAD_INPUT_EXIT_CODE: Final = 2
"""Errors of this class are the asker's (`core.errors`), whatever room raised them."""

CLIENT_GONE: Final = 499
"""What is noted where nobody was left to answer; nginx's number."""

RETRY_SECONDS: Final = {429: "1", 503: "5"}
TYPES: Final = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def find_status(error: LuthierError) -> int:
    """Return the HTTP status of an error."""
    fallback = 400 if error.exit_code == BAD_INPUT_EXIT_CODE else 500
    return STATUSES.get(error.code, fallback)


def describe_error(error: LuthierError) -> dict[str, object]:
    """Return OpenAI's envelope; ``code`` is ours, ``message`` one line of printable characters."""
    problem = error.problems[0]
    parts = (("", problem.what), ("got ", problem.got), ("allowed: ", problem.allowed), ("fix: ", problem.fix))
    status = find_status(error)
    return {
        "error": {
            "message": "; ".join(name + shorten(text, 600) for name, text in parts if text),
            "type": TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error"),
            "param": shorten(problem.field) or None,
            "code": error.code,
        }
    }


def to_json_bytes(value: object) -> bytes:
    """Write JSON in ASCII, so that no text can break the encoding, and refuse what JSON cannot say."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


def answer_error(error: LuthierError) -> Response:
    """Make the HTTP answer of an error."""
    status = find_status(error)
    headers = {"retry-after": RETRY_SECONDS[status]} if status in RETRY_SECONDS else {}
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    return Response(
        to_json_bytes(describe_error(error)), status_code=status, headers=headers, media_type="application/json"
    )


def make_internal_error() -> ServeError:
    """Return what a client is told of an error that we do not know: nothing of its inside."""
    return ServeError(
        "E-SRV-032",
        "the server met an error that it does not know",
        fix="send the request again; the server's log has the cause under this x-request-id",
    )
