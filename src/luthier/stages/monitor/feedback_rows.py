"""Accepted feedback as rows that stage 1 reads: corrections as conversations, preferences as pairs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

from luthier.foundation.core.errors import RecipeError
from luthier.foundation.core.hashing import sha256_json
from luthier.foundation.schema.feedback import Feedback, TeachingKind

KIND_OF_OBJECTIVE: Final[dict[str, TeachingKind]] = {"sft": "correction", "dpo": "preference"}
"""What an objective can learn from."""


def to_rows(pieces: Iterable[Feedback], kind: TeachingKind) -> list[dict[str, Any]]:
    """Write accepted feedback of one kind as rows.

    Of several pieces on one response, the newest of the kind counts: it was written knowing the others.

    Args:
        pieces: Feedback in the order in which it came.
        kind: ``correction`` gives rows of form ``messages``, ``preference`` rows of form ``preference``.
    """
    newest = {piece.response_id: piece for piece in pieces if piece.state == "accepted" and piece.kind == kind}
    write = _to_conversation if kind == "correction" else _to_pair
    return [write(piece) for piece in newest.values()]


def require_rows(
    pieces: Sequence[Feedback], kind: TeachingKind, *, known: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Write accepted feedback of one kind as rows, leaving out those that are there already.

    Args:
        pieces: Feedback in the order in which it came.
        kind: What the rows shall teach.
        known: Ids of rows that are there already.

    Raises:
        RecipeError: E-MON-025 where nothing is left.
    """
    rows = [row for row in to_rows(pieces, kind) if row["id"] not in known]
    if not rows:
        raise RecipeError(
            "E-MON-025",
            f"no accepted feedback is a {kind} that is not learnt from already",
            got=f"{len(pieces)} accepted pieces: {', '.join(sorted({piece.kind for piece in pieces})) or 'none'}",
            allowed=f"one accepted {kind} or more",
            fix="luthier feedback list --state new",
        )
    return rows


def _to_conversation(piece: Feedback) -> dict[str, Any]:
    answer = {"role": "assistant", "content": piece.payload.correction}
    history = [{**message, **_untrained(message)} for message in piece.payload.messages]
    return {**_describe(piece), "messages": [*history, answer]}


def _to_pair(piece: Feedback) -> dict[str, Any]:
    payload = piece.payload
    return {
        **_describe(piece),
        "prompt": list(payload.messages),
        "chosen": [{"role": "assistant", "content": payload.preferred}],
        "rejected": [{"role": "assistant", "content": payload.rejected}],
    }


def _untrained(message: dict[str, Any]) -> dict[str, int]:
    """Keep earlier answers from being trained: nobody reviewed them."""
    return {"weight": 0} if message["role"] == "assistant" else {}


def _describe(piece: Feedback) -> dict[str, Any]:
    """Return what ties a row to its feedback; pieces on one conversation never straddle a split."""
    described: dict[str, Any] = {"id": piece.id, "group": f"feedback-{sha256_json(list(piece.payload.messages))[:16]}"}
    return described | {"tools": list(piece.payload.tools)} if piece.payload.tools else described
