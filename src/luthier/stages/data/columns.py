"""Guess which of a table's columns is the question and which the answer, by name and by how values repeat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

NATIVE: Final = (
    ("messages",),
    ("conversations",),
    ("chosen", "rejected"),
    ("preferred_output", "non_preferred_output"),
    ("prompt", "completion"),
    ("instruction", "output"),
)
"""Columns of forms that say by themselves what they are."""

QUESTIONS: Final = (
    *("prompt", "question", "query", "instruction", "input", "utterance", "request", "user", "message", "user_message"),
    *("customer", "customer_message", "text", "sentence", "ticket", "email", "body", "content", "description"),
)
ANSWERS: Final = (
    *("completion", "answer", "response", "output", "reply", "assistant", "agent", "agent_reply", "target", "solution"),
    *("label", "intent", "category", "class", "topic", "tag", "sentiment", "queue", "department", "summary"),
)
LIKED: Final = ("chosen", "preferred", "better", "accepted", "good", "winner")
DISLIKED: Final = ("rejected", "dispreferred", "worse", "declined", "bad", "loser")
DOCUMENTS: Final = ("text", "content", "document", "body", "page", "passage", "article")
NO_TEXT: Final = frozenset({"id", "index", "number", "nr", "no", "date", "time", "created", "url", "split", "source"})


def guess_columns(records: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Guess a source's columns.

    Args:
        records: Some of its rows as read.

    Returns:
        A form's column to the source's, as ``data.sources.columns`` takes it; empty where the form speaks for itself
        or nothing can be guessed.
    """
    names = list(records[0]) if records else []
    if any(all(name in names for name in form) for form in NATIVE):
        return {}
    texts = [name for name in names if _holds_text(records, name)]
    by_name = {name.strip().lower().replace(" ", "_").replace("-", "_"): name for name in reversed(texts)}
    question, liked, disliked = (_first(by_name, known) for known in (QUESTIONS, LIKED, DISLIKED))
    if question and liked and disliked:
        return {"prompt": question, "chosen": liked, "rejected": disliked}
    answer = _first(by_name, ANSWERS)
    if question and answer:
        return {"prompt": question, "completion": answer}
    plain = [name for name in texts if name.strip().lower() not in NO_TEXT and not _holds_numbers(records, name)]
    if len(plain) == 2:
        return _part_pair(records, plain, question=question, answer=answer)
    page = _first(by_name, DOCUMENTS) or (plain[0] if len(plain) == 1 else None)
    return {"text": page} if page and page != "text" else {}


def _part_pair(
    records: Sequence[Mapping[str, Any]], names: Sequence[str], *, question: str | None, answer: str | None
) -> dict[str, str]:
    """Tell question from answer in two columns: by the name that is known, else answers repeat more."""
    first, second = names
    distinct = {name: len({record[name] for record in records}) for name in names}
    if second == question or first == answer or (None is question is answer and distinct[first] < distinct[second]):
        first, second = second, first
    return {"prompt": first, "completion": second}


def _first(by_name: Mapping[str, str], known: Sequence[str]) -> str | None:
    return next((by_name[name] for name in known if name in by_name), None)


def _holds_text(records: Sequence[Mapping[str, Any]], name: str) -> bool:
    return all(isinstance(record.get(name), str) for record in records) and any(record[name] for record in records)


def _holds_numbers(records: Sequence[Mapping[str, Any]], name: str) -> bool:
    return all(str(record[name]).strip().replace(".", "", 1).lstrip("+-").isdigit() for record in records)
