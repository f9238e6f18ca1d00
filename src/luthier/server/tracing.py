"""The caller's trace: ``traceparent`` of W3C Trace Context, so that a request's span stands in its trace."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_HEADER: Final = b"traceparent"
_FORM: Final = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")
_MAX_BYTES: Final = 512


def read_trace_parent(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the caller's place in its trace; empty where it says none, two, or one that is none.

    Source:
        W3C Trace Context level 1, section 3.2: version ``ff`` and identifiers of zeros alone are invalid, version 00
        has four parts, and a later version may have more. What cannot be read is ignored, never refused.
    """
    found = [value for name, value in headers if name.lower() == _HEADER]
    if len(found) != 1 or len(found[0]) > _MAX_BYTES:
        return ""
    matched = _FORM.fullmatch(found[0].strip())
    if matched is None:
        return ""
    version, trace, parent, more = matched.groups()
    is_known = version != b"ff" and not (version == b"00" and more)
    if not is_known or not trace.strip(b"0") or not parent.strip(b"0"):
        return ""
    return found[0].strip().decode("ascii", errors="replace")
