"""Rows that pass the length: refused, left out, or split at a turn; never cut silently.

Plan and train call this with the same arguments, so both see the same rows under the same ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, takewhile
from typing import Generic, Literal, TypeVar

from luthier.foundation.core.errors import DataError, Problem
from luthier.foundation.schema.rows import Message, Row
from luthier.instruments.text.encode import (
    MAX_SHOWN_PROBLEMS,
    EncodedRow,
    EncodedRows,
    ExampleT_co,
    TrainOn,
    encode_row,
)
from luthier.instruments.text.pairs import EncodedPair, encode_pair
from luthier.instruments.text.tokens import TextTokenizer

TooLong = Literal["refuse", "drop", "split"]
TOO_LONG_CODE = "E-TXT-009"
ExampleT = TypeVar("ExampleT")


@dataclass
class _Fitting(Generic[ExampleT]):
    rows: list[ExampleT] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    num_bad: int = 0

    def note(self, error: DataError) -> None:
        self.num_bad += 1
        if self.num_bad <= MAX_SHOWN_PROBLEMS:
            self.problems.append(error.problems[0])

    def finish(self) -> FittedRows[ExampleT]:
        return FittedRows(EncodedRows(tuple(self.rows), tuple(self.problems), self.num_bad), tuple(self.dropped))


@dataclass(frozen=True)
class FittedRows(Generic[ExampleT_co]):
    """Rows as they will be trained on.

    Attributes:
        encoded: Good rows in order, with the problems of the bad ones.
        dropped: Ids of rows that are too long and were left out, as the recipe says.
    """

    encoded: EncodedRows[ExampleT_co]
    dropped: tuple[str, ...]


def fit_rows(
    rows: Iterable[Row],
    tokenizer: TextTokenizer,
    *,
    train_on: TrainOn,
    max_length: int,
    too_long: TooLong,
    on_row: Callable[[], None] | None = None,
) -> FittedRows[EncodedRow]:
    """Encode rows and do with the long ones what the recipe says.

    Args:
        rows: Conversations or texts.
        tokenizer: The model's, with the chat template in use.
        train_on: Which turns are trained.
        max_length: Greatest number of tokens.
        too_long: ``refuse`` makes each a problem, ``drop`` leaves it out, ``split`` cuts it into pieces that fit
            under ids ``<id>#1``, ``<id>#2`` …; a conversation is cut before a user's turn and each piece keeps the
            system message and the tools. What cannot be cut so is a problem.
        on_row: Called after each row.
    """
    fitting: _Fitting[EncodedRow] = _Fitting()
    for row in rows:
        try:
            fitting.rows.append(encode_row(row, tokenizer, train_on=train_on, max_length=max_length))
        except DataError as error:
            if error.code != TOO_LONG_CODE or too_long == "refuse":
                fitting.note(error)
            elif too_long == "drop":
                fitting.dropped.append(row.id)
            else:
                _split(row, tokenizer, fitting, train_on=train_on, max_length=max_length)
        if on_row is not None:
            on_row()
    return fitting.finish()


def fit_pairs(
    rows: Iterable[Row],
    tokenizer: TextTokenizer,
    *,
    max_length: int,
    too_long: TooLong,
    on_row: Callable[[], None] | None = None,
) -> FittedRows[EncodedPair]:
    """Encode preferences and do with the long ones what the recipe says.

    Args:
        rows: Preferences.
        tokenizer: The model's, with the chat template in use.
        max_length: Greatest number of tokens of a prompt with one of its answers.
        too_long: ``refuse`` makes each a problem, ``drop`` leaves it out. A pair cannot be cut without comparing
            something else, so under ``split`` it is a problem too.
        on_row: Called after each row.
    """
    fitting: _Fitting[EncodedPair] = _Fitting()
    for row in rows:
        try:
            fitting.rows.append(encode_pair(row, tokenizer, max_length=max_length))
        except DataError as error:
            if error.code == TOO_LONG_CODE and too_long == "drop":
                fitting.dropped.append(row.id)
            else:
                fitting.note(error)
        if on_row is not None:
            on_row()
    return fitting.finish()


def _split(
    row: Row, tokenizer: TextTokenizer, fitting: _Fitting[EncodedRow], *, train_on: TrainOn, max_length: int
) -> None:
    try:
        cut = _cut_text if row.kind == "text" else _cut_conversation
        pieces = list(cut(row, tokenizer, train_on, max_length))
    except DataError as error:
        fitting.note(error)
        return
    fitting.rows += pieces


def _cut_text(row: Row, tokenizer: TextTokenizer, train_on: TrainOn, max_length: int) -> Iterator[EncodedRow]:
    """Cut a text between tokens; a piece alone may take a few tokens more than it did inside, so leave room."""
    offsets = tokenizer.encode(row.text).offsets
    room = max_length - max(2, max_length // 16)
    starts = [0, *(int(offsets[index][0]) for index in range(room, len(offsets), room)), len(row.text)]
    for number, (start, end) in enumerate(pairwise(starts), start=1):
        piece = row.model_copy(update={"id": f"{row.id}#{number}", "text": row.text[start:end]})
        yield encode_row(piece, tokenizer, train_on=train_on, max_length=max_length)


def _cut_conversation(row: Row, tokenizer: TextTokenizer, train_on: TrainOn, max_length: int) -> Iterator[EncodedRow]:
    """Gather exchanges, each from one user's turn to the next, while they fit."""
    head = tuple(takewhile(lambda message: message.role in {"system", "developer"}, row.messages))
    number = 0
    gathered: tuple[Message, ...] = ()
    best: EncodedRow | None = None
    for exchange in _iterate_exchanges(row.messages[len(head) :]):
        longer = _try_piece(row, tokenizer, (*head, *gathered, *exchange), train_on=train_on, max_length=max_length)
        if longer is not None:
            gathered, best = (*gathered, *exchange), longer
            continue
        if best is not None:
            number += 1
            yield _name_piece(best, row, number)
        piece = row.model_copy(update={"messages": (*head, *exchange)})
        gathered, best = exchange, encode_row(piece, tokenizer, train_on=train_on, max_length=max_length)
    if best is not None:
        yield _name_piece(best, row, number + 1)


def _iterate_exchanges(messages: Sequence[Message]) -> Iterator[tuple[Message, ...]]:
    exchange: list[Message] = []
    for message in messages:
        if message.role == "user" and any(m.role == "assistant" for m in exchange):
            yield tuple(exchange)
            exchange = []
        exchange.append(message)
    if exchange:
        yield tuple(exchange)


def _try_piece(
    row: Row, tokenizer: TextTokenizer, messages: tuple[Message, ...], *, train_on: TrainOn, max_length: int
) -> EncodedRow | None:
    try:
        piece = row.model_copy(update={"messages": messages})
        return encode_row(piece, tokenizer, train_on=train_on, max_length=max_length)
    except DataError as error:
        if error.code != TOO_LONG_CODE:
            raise
        return None


def _name_piece(piece: EncodedRow, row: Row, number: int) -> EncodedRow:
    return EncodedRow(f"{row.id}#{number}", piece.token_ids_T, piece.weights_T, piece.origin)
