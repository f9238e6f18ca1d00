"""What one answered request leaves behind: numbers always, content only where it was asked for."""

from __future__ import annotations

from typing import Any

from luthier.foundation.schema.noun import Noun
from luthier.foundation.schema.rows import Message
from luthier.foundation.schema.serving import FinishReason

UNKNOWN_MODEL = "unknown"
"""What ``model`` says where a request named none that is served, so that labels stay few."""


class RequestContent(Noun):
    """What was said; there only where the server keeps content. Not redacted yet: who writes it redacts."""

    messages: tuple[Message, ...] = ()
    answers: tuple[str, ...] = ()
    tools: tuple[dict[str, Any], ...] = ()


class RequestFacts(Noun):
    """One request for an answer, once its last byte was sent or it was refused or given up.

    Attributes:
        time: When it came, seconds since 1970, UTC.
        request_id: The ``x-request-id`` of the answer.
        response_id: The ``id`` of the completion (``chatcmpl-…``), which feedback names; empty where it was refused.
        model: Name of the served model, or :data:`UNKNOWN_MODEL`.
        release: Digest of what is served under that name; empty where the model is unknown.
        status: HTTP status; 499 where the client went before the end.
        code: Our error code; empty where it was answered.
        seconds: From the request's last header to the last byte of the answer.
        first_token_seconds: To the first piece of an answer; None where there was none.
        finish_reason: Of the first answer; None where it was refused.
        mean_logprob: Mean over the answers' tokens, nats; None where the runtime knows none.
        trace_parent: The caller's ``traceparent`` as W3C writes it; empty where there was none that can be read.
    """

    time: float
    request_id: str
    response_id: str = ""
    model: str = UNKNOWN_MODEL
    release: str = ""
    status: int
    code: str = ""
    seconds: float
    first_token_seconds: float | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    num_answers: int = 0
    finish_reason: FinishReason | None = None
    mean_logprob: float | None = None
    is_streaming: bool = False
    trace_parent: str = ""
    content: RequestContent | None = None


class KnownResponse(Noun):
    """A response that feedback may name.

    Attributes:
        has_content: Whether the traffic log holds what was said.
        messages: What was asked, redacted, as plain JSON; empty where content is not kept.
        answers: What was answered, redacted; empty where content is not kept.
        tools: The tool schemas that came with the question, redacted; empty where content is not kept.
    """

    response_id: str
    model: str
    release: str
    has_content: bool = False
    messages: tuple[dict[str, Any], ...] = ()
    answers: tuple[str, ...] = ()
    tools: tuple[dict[str, Any], ...] = ()
