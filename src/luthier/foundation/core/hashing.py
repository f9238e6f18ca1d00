"""Digests: canonical JSON (RFC 8785) and sha256, the only identity that records and blobs have."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Any

import rfc8785
from pydantic import StringConstraints

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""A sha256 in 64 lower-case hexadecimal digits."""

CHUNK_BYTES = 1 << 20
GREATEST_INTEGER = 2**53

_PLAIN_ENCODER = json.JSONEncoder(sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_NOT_PLAIN = re.compile(r"\d{16}|(?:^|[:,\[])-?\d+[.e]|[\ud800-\udfff\U00010000-\U0010ffff]")
"""Where the standard library's JSON may differ from the canonical one: large integers, floats, characters outside
the basic plane (keys are sorted by UTF-16 units). It also matches inside some strings, which costs time only."""


def canonical_json(value: Any) -> bytes:  # noqa: ANN401  any JSON value
    """Write a JSON value in its one canonical form.

    Args:
        value: Objects, arrays, strings, finite numbers, booleans and null.

    Numerics:
        Most rows hold only text and small integers; for these the standard library's encoder gives the same
        bytes about ten times faster. All else goes to ``rfc8785``.

    Source:
        RFC 8785, JSON Canonicalization Scheme.
    """
    try:
        text = _PLAIN_ENCODER.encode(value)
    except (TypeError, ValueError, RecursionError):
        return rfc8785.dumps(value)
    return rfc8785.dumps(value) if _NOT_PLAIN.search(text) else text.encode()


def parse_canonical_json(text: str | bytes) -> Any:  # noqa: ANN401  any JSON value
    """Read canonical JSON back so that writing it again gives the same bytes.

    A double from 2**53 on has no decimal point in canonical form; as an integer it would be another number.
    """
    return json.loads(text, parse_int=_parse_number)


def _parse_number(digits: str) -> int | float:
    number = int(digits)
    return number if abs(number) < GREATEST_INTEGER else float(digits)


def sha256_bytes(data: bytes) -> str:
    """Return the digest of bytes."""
    return hashlib.sha256(data).hexdigest()


def sha256_json(value: Any) -> str:  # noqa: ANN401  any JSON value
    """Return the digest of a JSON value's canonical form."""
    return sha256_bytes(canonical_json(value))


def sha256_file(path: Path) -> str:
    """Return the digest of a file, read in chunks."""
    hasher = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            hasher.update(chunk)
    return hasher.hexdigest()
