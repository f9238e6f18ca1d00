"""Preference rows to pairs of sequences: one prompt, the answer that was preferred and the one that was not.

Both sequences are rendered and tokenised whole, so that each is what the model would read and write; what is trained
is what the model itself says after the prompt, the end of its turns included. Read ``encode.py`` first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from luthier.foundation.core.errors import DataError
from luthier.foundation.schema.rows import Message, Row
from luthier.instruments.text.encode import EncodedRow, encode_row
from luthier.instruments.text.tokens import TextTokenizer

PREFERENCE: Final = "preference"
Side = Literal["chosen", "rejected"]
SIDES: Final[tuple[Side, Side]] = ("chosen", "rejected")


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """One preference as the engine takes it: an example of two sequences where :class:`EncodedRow` is one of one.

    Attributes:
        id: The row's id.
        chosen: Prompt and preferred answer; the answer's tokens have weights.
        rejected: Prompt and other answer, likewise.
    """

    id: str
    chosen: EncodedRow
    rejected: EncodedRow

    @property
    def sequences(self) -> tuple[EncodedRow, ...]:
        """Both sequences, the chosen one first."""
        return (self.chosen, self.rejected)

    @property
    def num_tokens(self) -> int:
        """Tokens of both sequences written out."""
        return self.chosen.num_tokens + self.rejected.num_tokens

    @property
    def num_trained(self) -> int:
        """Targets of both sequences."""
        return self.chosen.num_trained + self.rejected.num_trained


Example = EncodedRow | EncodedPair
"""What one row of data teaches: whole, it lies in one optimizer step and, where its loss needs that, in one pass."""


def as_conversation(row: Row, side: Side = "chosen") -> Row:
    """Return the conversation that a preference row holds: its prompt and one of its answers.

    Rows of other kinds are returned as they are.
    """
    if row.kind != PREFERENCE:
        return row
    answer: tuple[Message, ...] = getattr(row, side)
    changes = {"kind": "conversation", "messages": (*row.messages, *answer), "chosen": (), "rejected": ()}
    return row.model_copy(update=changes)


def write_out(row: Row) -> tuple[Row, Row]:
    """Return a preference as two conversations, chosen and rejected, of which only the answers may be trained."""
    prompt = tuple(message.model_copy(update={"is_trained": False}) for message in row.messages)
    asked = row.model_copy(update={"messages": prompt})
    chosen, rejected = (as_conversation(asked, side).model_copy(update={"id": f"{row.id}:{side}"}) for side in SIDES)
    return chosen, rejected


def encode_pair(row: Row, tokenizer: TextTokenizer, *, max_length: int | None = None) -> EncodedPair:
    """Encode one preference row.

    Args:
        row: A preference; nothing of its prompt is trained.
        tokenizer: The model's, with the chat template in use.
        max_length: Greatest number of tokens of prompt and answer together.

    Raises:
        DataError: E-TXT-016 for a row of another kind, E-TXT-020 where both answers are the same tokens, and what
            :func:`encode_row` finds in either sequence, with file and line.
        ModelError: When the template itself is broken.
    """
    if row.kind != PREFERENCE:
        raise DataError(
            "E-TXT-016",
            f"a {row.kind} row has no two answers to compare",
            got=row.kind,
            origin=str(row.origin),
            allowed="preference rows: prompt, chosen, rejected",
            fix="--set train.objective=sft",
        )
    chosen, rejected = (encode_row(written, tokenizer, max_length=max_length) for written in write_out(row))
    if np.array_equal(chosen.token_ids_T, rejected.token_ids_T):
        raise DataError(
            "E-TXT-020",
            "chosen and rejected are the same answer, so there is nothing to prefer",
            got=f"{chosen.num_trained} equal tokens",
            origin=str(row.origin),
            allowed="two answers that differ in what the model reads",
            fix="take the row out",
        )
    return EncodedPair(row.id, chosen, rejected)
