"""Feedback: what people say of an answer, and what a reviewer made of it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from luthier.foundation.core.hashing import sha256_json
from luthier.foundation.schema.noun import Noun

FeedbackKind = Literal["rating", "comment", "correction", "preference"]
TeachingKind = Literal["correction", "preference"]
"""Kinds that become training rows."""
FeedbackState = Literal["new", "accepted", "rejected"]
ID_DIGITS = 16


class FeedbackPayload(Noun):
    """What was said, redacted.

    Attributes:
        messages: The conversation up to the answer, as plain JSON; empty for ratings and comments without content.
        tools: The tool schemas that came with it.
        correction: What the answer should have been.
        preferred: The better answer of two.
        rejected: The other one.
        comment: Anything else.
    """

    messages: tuple[dict[str, Any], ...] = ()
    tools: tuple[dict[str, Any], ...] = ()
    correction: str = ""
    preferred: str = ""
    rejected: str = ""
    comment: str = ""


class Feedback(Noun):
    """One piece of feedback.

    Attributes:
        id: Digest of what was said about which response, so that a repeated message is one piece.
        time: When it came, ISO 8601, UTC.
        rating: ``up``, ``down`` or ``1`` to ``5``; empty where none was given.
        reviewed_by: The reviewer as they declared themselves; empty before.
    """

    id: str
    time: str
    response_id: str
    release: str
    model: str
    kind: FeedbackKind
    rating: str = ""
    payload: FeedbackPayload = Field(default_factory=FeedbackPayload)
    state: FeedbackState = "new"
    reviewed_by: str = ""
    reviewed_at: str = ""


def name_feedback(response_id: str, rating: str, payload: FeedbackPayload) -> str:
    """Return the id of what was said."""
    said = {"response_id": response_id, "rating": rating, "payload": payload.model_dump(mode="json")}
    return f"fb-{sha256_json(said)[:ID_DIGITS]}"
