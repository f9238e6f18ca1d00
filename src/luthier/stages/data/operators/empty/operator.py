"""Drop rows that say nothing; refuse conversations that nobody answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from luthier.foundation.core.errors import Problem
from luthier.foundation.schema.rows import Message, Row
from luthier.stages.data.operators.empty.config import Config
from luthier.stages.data.outcomes import Changed, Dropped, HeldOut, Kept, Outcome, Refused


class EmptyOperator:
    """See ``Config``."""

    def apply(self, rows: Sequence[Row], config: Config, held_out: HeldOut) -> Iterator[Outcome]:  # noqa: ARG002
        """Judge each row by itself."""
        for row in rows:
            reason, turn = find_emptiness(row)
            if reason:
                yield Dropped(row, (reason,), {"message": turn} if turn is not None else {})
            elif row.kind != "conversation" or row.messages[-1].role == "assistant":
                yield Kept(row)
            else:
                yield judge_unanswered(row, config)


def judge_unanswered(row: Row, config: Config) -> Outcome:
    """Do as the options say with a conversation whose last turn nobody answers."""
    last = max((turn for turn, message in enumerate(row.messages) if message.role == "assistant"), default=-1)
    detail = {"role": row.messages[-1].role}
    if config.unanswered == "refuse":
        return Refused(row, _describe_unanswered(row))
    if config.unanswered == "drop" or last < 0:
        return Dropped(row, ("unanswered",), detail)
    trimmed = row.model_copy(update={"messages": row.messages[: last + 1]})
    return Changed(trimmed, row, ("unanswered",), detail | {"removed": len(row.messages) - last - 1})


def find_emptiness(row: Row) -> tuple[str, int | None]:
    """Return why a row says nothing and which message is to blame; an empty reason where it says something."""
    if row.kind == "text":
        return ("", None) if row.text.strip() else ("no_text", None)
    if not row.messages:
        return "no_messages", None
    continuations: dict[str, tuple[tuple[Message, ...], ...]] = {
        "preference": (row.chosen, row.rejected),
        "judged": (row.completion,),
    }
    for messages in (row.messages, *continuations.get(row.kind, ())):
        if not messages:
            return "no_continuation", None
        for turn, message in enumerate(messages):
            if message.role in {"user", "assistant"} and _is_blank(message):
                return f"blank_{message.role}", turn
    return "", None


def _is_blank(message: Message) -> bool:
    has_media = not isinstance(message.content, str) and any(part.blob for part in message.content)
    return not has_media and not message.tool_calls and not message.text.strip()


def _describe_unanswered(row: Row) -> Problem:
    last = row.messages[-1]
    return Problem(
        "E-DAT-015",
        f"row {row.id} ends in a turn of {last.role!r} that nobody answers",
        got=last.text[:100],
        origin=str(row.origin),
        allowed="a conversation whose last turn is the assistant's",
        fix="add the answer, or in data.operators use {type: empty, unanswered: trim} or drop",
    )


PLUGIN = EmptyOperator()
