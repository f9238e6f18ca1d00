"""Rows to token ids and loss weights: what the model reads, and which tokens it is taught to say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from luthier.foundation.core.errors import DataError, Problem
from luthier.foundation.schema.rows import Message, Origin, Row
from luthier.instruments.text.complete import check_complete
from luthier.instruments.text.templates import ChatTemplate, Rendered
from luthier.instruments.text.tokens import TextTokenizer, TokenizedText
from luthier.instruments.text.turns import Region, Turn

TrainOn = Literal["assistant", "last", "all"]
"""Which turns are trained: every assistant turn, the last alone, or every token of the conversation."""

MAX_SHOWN_PROBLEMS: Final = 20
NOWHERE: Final = Origin(file="")


@dataclass(frozen=True, slots=True, eq=False)
class EncodedRow:
    """One row as the engine takes it.

    Attributes:
        id: The row's id.
        token_ids_T: Token ids, int32.
        weights_T: Loss weights, float32; above 0 where a token is a target. The first token never is.
        origin: File and line.

    Shapes:
        T = tokens of the row; both arrays are (T,).
    """

    id: str
    token_ids_T: NDArray[np.int32]  # noqa: N815  shape suffix
    weights_T: NDArray[np.float32]  # noqa: N815
    origin: Origin = NOWHERE

    @property
    def sequences(self) -> tuple[EncodedRow, ...]:
        """The row itself: what an example of one sequence consists of."""
        return (self,)

    @property
    def num_tokens(self) -> int:
        """How many tokens the row has."""
        return len(self.token_ids_T)

    @property
    def num_trained(self) -> int:
        """How many tokens are targets."""
        return int(np.count_nonzero(self.weights_T))


@dataclass(frozen=True, slots=True)
class WeightedText:
    """A row's text with its tokens and their loss weights.

    Shapes:
        T = tokens; weights (T,).
    """

    text: str
    tokens: TokenizedText
    weights_T: NDArray[np.float32]  # noqa: N815


ExampleT_co = TypeVar("ExampleT_co", covariant=True)


@dataclass(frozen=True)
class EncodedRows(Generic[ExampleT_co]):
    """Many rows, with what is wrong with the bad ones.

    Attributes:
        rows: The good rows in order, as the examples that they make.
        problems: One problem for each of the first 20 bad rows.
        num_bad: How many rows are bad.
    """

    rows: tuple[ExampleT_co, ...]
    problems: tuple[Problem, ...]
    num_bad: int

    def raise_problems(self) -> None:
        """Raise what is wrong, if anything is.

        Raises:
            DataError: With the first problems; the last says how many rows are bad where more were found.
        """
        if not self.num_bad:
            return
        problems = list(self.problems)
        if self.num_bad > len(problems):
            what = f"{self.num_bad} rows are bad; the first {len(problems)} are shown"
            got = f"{self.num_bad} bad rows, {len(self.rows)} good ones"
            problems.append(Problem("E-DAT-009", what, got=got, allowed="no bad row", fix=problems[0].fix))
        raise DataError.collect(problems)


def encode_rows(
    rows: Iterable[Row],
    tokenizer: TextTokenizer,
    *,
    train_on: TrainOn = "assistant",
    max_length: int | None = None,
) -> EncodedRows[EncodedRow]:
    """Encode rows; bad ones are collected, not raised.

    Args:
        rows: Conversations or texts.
        tokenizer: The model's, with the chat template in use.
        train_on: Which turns are trained.
        max_length: Greatest number of tokens; longer rows are problems with code E-TXT-009.

    Raises:
        ModelError: When the template itself is broken.
    """
    good: list[EncodedRow] = []
    problems: list[Problem] = []
    num_bad = 0
    for row in rows:
        try:
            good.append(encode_row(row, tokenizer, train_on=train_on, max_length=max_length))
        except DataError as error:
            num_bad += 1
            if num_bad <= MAX_SHOWN_PROBLEMS:
                problems.append(error.problems[0])
    return EncodedRows(tuple(good), tuple(problems), num_bad)


def encode_row(
    row: Row, tokenizer: TextTokenizer, *, train_on: TrainOn = "assistant", max_length: int | None = None
) -> EncodedRow:
    """Encode one row.

    A conversation is rendered and tokenised as a whole. A token is trained where it overlaps what the model itself
    writes in a trained turn: content, tool calls, the end of the turn; what tools answer never is. A plain text is
    trained from its second token to its end token.

    Raises:
        DataError: E-TXT-003 to E-TXT-009, E-TXT-015, E-TXT-016, E-TXT-018, E-TXT-019, each with file and line.
        ModelError: When the template itself is broken.
    """
    weighted = weigh_row(row, tokenizer, train_on=train_on)
    check_trained(row, weighted, train_on)
    encoded = EncodedRow(row.id, weighted.tokens.ids, weighted.weights_T, row.origin)
    check_length(encoded, max_length)
    return encoded


def weigh_row(row: Row, tokenizer: TextTokenizer, *, train_on: TrainOn = "assistant") -> WeightedText:
    """Return a row's text, tokens and weights; errors as in :func:`encode_row`, but a row may train nothing."""
    weighted = _weigh_text(row, tokenizer) if row.kind == "text" else _weigh_turns(row, tokenizer, train_on)
    weighted.weights_T[:1] = 0.0  # nothing predicts the first token
    return weighted


def check_trained(row: Row, weighted: WeightedText, train_on: TrainOn) -> None:
    """Refuse a row that has nothing to train.

    Raises:
        DataError: E-TXT-006.
    """
    if not weighted.weights_T.any():
        raise DataError(
            "E-TXT-006",
            "the row has nothing to train",
            got=f"{len(weighted.tokens.ids)} tokens, train_on {train_on}",
            origin=str(row.origin),
            allowed="at least one trained token",
            fix="take the row out, or mark an assistant message with `weight: 1`",
        )


def check_length(encoded: EncodedRow, max_length: int | None) -> None:
    """Refuse a row that is too long.

    Raises:
        DataError: E-TXT-009; the caller may drop or split such rows where the recipe says so.
    """
    if max_length is not None and len(encoded.token_ids_T) > max_length:
        raise DataError(
            "E-TXT-009",
            "the row is longer than train.max_length",
            got=f"{len(encoded.token_ids_T)} tokens",
            origin=str(encoded.origin),
            allowed=f"up to {max_length} tokens",
            fix="--set train.too_long=drop",
            field="train.max_length",
        )


def encode_prompt(
    messages: Sequence[Message], tools: Sequence[dict[str, Any]], tokenizer: TextTokenizer, *, origin: str = ""
) -> NDArray[np.int32]:
    """Encode what a model is shown when it is asked to answer.

    Raises:
        DataError: E-TXT-003 when the template refuses, E-TXT-019 when there is none.
    """
    template = find_template(tokenizer, origin)
    return tokenizer.encode(template.render_text(messages, tools, add_generation_prompt=True, origin=origin)).ids


def find_template(tokenizer: TextTokenizer, origin: str) -> ChatTemplate:
    """Return the tokenizer's chat template.

    Raises:
        DataError: E-TXT-019 when it has none.
    """
    if tokenizer.chat_template is None:
        raise DataError(
            "E-TXT-019",
            "the row is a conversation, but the model has no chat template",
            got="no chat template",
            origin=origin,
            allowed="a model folder with chat_template.jinja, or rows of plain text",
            fix="name an instruction-tuned base in model.base",
        )
    return tokenizer.chat_template


def is_turn_trained(messages: Sequence[Message], index: int, train_on: TrainOn) -> bool:
    """Tell whether an assistant message is trained: its own mark first, then the recipe."""
    marked = messages[index].is_trained
    if marked is not None:
        return marked
    return train_on != "last" or all(message.role != "assistant" for message in messages[index + 1 :])


def find_trained_spans(
    messages: Sequence[Message], rendered: Rendered, train_on: TrainOn, *, origin: str = ""
) -> list[Region]:
    """Return the characters to train, in order.

    Raises:
        DataError: E-TXT-005 where all is trained but what is left out cannot be found.
    """
    if train_on != "all":
        turns = trained_turns(messages, rendered, train_on)
        return sorted(span for turn in turns for span in turn.spans)
    skipped = [i for i, message in enumerate(messages) if message.role == "tool" or message.is_trained is False]
    hidden = [index for index in skipped if not rendered.regions.get(index)]
    if hidden:
        raise DataError(
            "E-TXT-005",
            f"cannot tell where message {hidden[0] + 1} is written, which must not be trained",
            got=f"train_on {train_on}",
            origin=origin,
            allowed="train_on: assistant",
            fix="--set train.objective.train_on=assistant",
        )
    left_out = [region for index in skipped for region in rendered.regions[index]]
    return _complement(sorted(left_out), len(rendered.text))


def trained_turns(messages: Sequence[Message], rendered: Rendered, train_on: TrainOn) -> Iterator[Turn]:
    """Yield the assistant turns that are trained."""
    return (turn for turn in rendered.turns if is_turn_trained(messages, turn.message, train_on))


def weigh_tokens(tokens: TokenizedText, spans: Sequence[Region]) -> NDArray[np.float32]:
    """Give weight 1 to each token that overlaps a span, else 0.

    Shapes:
        T tokens; returns (T,).
    """
    starts, ends = tokens.offsets[:, 0], tokens.offsets[:, 1]
    is_trained = np.zeros(len(tokens.ids), dtype=bool)
    for start, end in spans:
        if start < end:
            is_trained |= (starts < end) & (ends > start)
    return is_trained.astype(np.float32)


def _weigh_text(row: Row, tokenizer: TextTokenizer) -> WeightedText:
    """Put the tokens that begin and end a text around it."""
    begin = tokenizer.bos_token if tokenizer.adds_bos else ""
    tokens = tokenizer.encode(row.text)
    text = begin + row.text + tokenizer.end_token
    ids = [tokenizer.bos_token_id] if begin else []
    before = [(0, len(begin))] if begin else []
    joined = TokenizedText(
        np.array([*ids, *tokens.ids, tokenizer.end_token_id], dtype=np.int32),
        np.array(
            [*before, *(tokens.offsets + len(begin)), (len(text) - len(tokenizer.end_token), len(text))], dtype=np.int64
        ),
    )
    return WeightedText(text, joined, np.full(len(joined.ids), 1.0 if row.text else 0.0, dtype=np.float32))


def _weigh_turns(row: Row, tokenizer: TextTokenizer, train_on: TrainOn) -> WeightedText:
    _check_trainable(row)
    origin = str(row.origin)
    template = find_template(tokenizer, origin)
    rendered = template.render(row.messages, row.tools, origin=origin)
    check_complete(row, rendered, template)
    tokens = tokenizer.encode(rendered.text)
    weights = weigh_tokens(tokens, find_trained_spans(row.messages, rendered, train_on, origin=origin))
    for turn in trained_turns(row.messages, rendered, train_on):
        _check_end(row, turn, tokens, weights, tokenizer)
    return WeightedText(rendered.text, tokens, weights)


def _check_trainable(row: Row) -> None:
    origin = str(row.origin)
    if row.kind != "conversation":
        raise DataError(
            "E-TXT-016",
            f"a {row.kind} row has no single answer to imitate",
            got=row.kind,
            origin=origin,
            allowed="conversations, prompt and completion, or plain text",
            fix="--set train.objective=dpo" if row.kind == "preference" else '{"prompt": "…", "completion": "…"}',
        )
    if not row.messages or row.messages[-1].role != "assistant":
        raise DataError(
            "E-TXT-008",
            "the conversation does not end in an assistant's turn",
            got=f"last message: {row.messages[-1].role}" if row.messages else "no messages",
            origin=origin,
            allowed="an assistant message at the end",
            fix="add the answer, or cut the row after its last answer",
        )


def _check_end(
    row: Row, turn: Turn, tokens: TokenizedText, weights: NDArray[np.float32], tokenizer: TextTokenizer
) -> None:
    """Refuse a turn whose end is not taught: a model trained on it would never stop."""
    is_inside = (tokens.offsets[:, 0] < turn.end) & (tokens.offsets[:, 1] > turn.start) & (weights > 0)
    if tokenizer.end_token_ids.isdisjoint(tokens.ids[is_inside].tolist()):
        raise DataError(
            "E-TXT-007",
            f"the end of the assistant's turn (message {turn.message + 1}) is not trained",
            got=f"the turn ends in {tokenizer.decode(tokens.ids[is_inside][-3:])!r}",
            origin=str(row.origin),
            allowed=f"a turn that ends with one of the ids {sorted(tokenizer.end_token_ids)}",
            fix="add the id of the token that ends a turn to eos_token_id in generation_config.json",
        )


def _complement(regions: Sequence[Region], length: int) -> list[Region]:
    spans: list[Region] = []
    position = 0
    for start, end in regions:
        if start > position:
            spans.append((position, start))
        position = max(position, end)
    return [*spans, (position, length)] if position < length else spans
