"""What every operator must do, whatever it is for: answer for each row once, in order, the same each time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from luthier.foundation.schema.plugins import PluginConfig
from luthier.foundation.schema.rows import Message, Origin, Row
from luthier.stages.data.outcomes import Changed, Dropped, Flagged, Kept, Outcome, Refused

_TEXTS: Final = (
    "Where is my order?",
    "Where is my order?",
    "WHERE  is my order",
    "",
    "\u200b",
    "Ünïcode café ①",
    "x" * 2000,
)


def make_rows() -> tuple[Row, ...]:
    """Return the rows that operators are tried on: plain, doubled, empty, odd, and one of each kind."""
    rows = [
        Row(
            id=f"row-{number}",
            messages=(Message(role="user", content=text), Message(role="assistant", content=f"Answer {number}.")),
            origin=Origin(file="rows.jsonl", line=number + 1),
        )
        for number, text in enumerate(_TEXTS)
    ]
    question = (Message(role="user", content="Refund?"),)
    good, bad = (Message(role="assistant", content="Yes."),), (Message(role="assistant", content="No."),)
    rows.append(Row(id="preference", kind="preference", messages=question, chosen=good, rejected=bad))
    rows.append(Row(id="judged", kind="judged", messages=question, completion=good, label=True))
    rows.append(Row(id="text", kind="text", text="A page of plain text."))
    return tuple(rows)


def find_operator_faults(runtime: Any, config: type[PluginConfig]) -> Iterator[str]:  # noqa: ANN401  family's protocol
    """Yield what an operator does that no operator may; one with required options is judged by its own tests."""
    if any(field.is_required() for field in config.model_fields.values()):
        return
    rows = make_rows()
    held_out = {"faq": (rows[0],)}
    first = list(runtime.apply(rows, config(), held_out))
    yield from _find_answer_faults(rows, first)
    if list(runtime.apply(make_rows(), config(), held_out)) != first:
        yield "two passes over the same rows differ; draw by the seed of the context or not at all"
    if rows != make_rows():
        yield "it changes the rows that it is given"
    if list(runtime.apply((), config(), held_out)):
        yield "it answers for rows that are not there"
    again = tuple(outcome.row for outcome in first if isinstance(outcome, Kept | Flagged | Changed))
    second = list(runtime.apply(again, config(), held_out))
    if any(isinstance(outcome, Changed | Dropped) for outcome in second):
        yield "it is not idempotent: a second pass changes or drops rows that the first let through"


def _find_answer_faults(rows: tuple[Row, ...], outcomes: list[Outcome]) -> Iterator[str]:
    if [outcome.row.id for outcome in outcomes] != [row.id for row in rows]:
        yield f"{len(outcomes)} outcomes for {len(rows)} rows; one a row, in their order, ids unchanged"
        return
    for row, outcome in zip(rows, outcomes, strict=True):
        if isinstance(outcome, Kept | Flagged) and outcome.row != row:
            yield f"{row.id} is called {type(outcome).__name__} but was changed"
        if isinstance(outcome, Changed) and (outcome.before != row or outcome.row == row):
            yield f"{row.id} is called Changed, but before and after are not so"
        if isinstance(outcome, Flagged | Changed | Dropped) and not outcome.reasons:
            yield f"{row.id} is {type(outcome).__name__} without a reason"
        if isinstance(outcome, Refused) and not outcome.problem.fix:
            yield f"{row.id} is refused without saying how to mend it"
