"""One request under way: what was asked, its rows that are being written, and the pieces on their way to the caller."""

from __future__ import annotations

import hashlib
import queue
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from luthier.foundation.core.errors import ServeError
from luthier.foundation.core.seeds import derive_seed
from luthier.foundation.schema.rows import ToolCall
from luthier.foundation.schema.serving import ChatRequest, Delta, FinishReason, TokenLogprob
from luthier.instruments.text.answer_stream import AnswerStream
from luthier.instruments.text.tokens import TextTokenizer


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was rendered and found to fit.

    Attributes:
        request: As it came.
        prompt: Token ids of the prompt.
        max_tokens: Longest answer.
        seed: Seed of the draws.
        tokenizer: Of the model that is asked.
        key: The model's adapter; empty for the base.
        call_style: How calls are looked for in the answer; ``none`` where there are no tools.
    """

    request: ChatRequest
    prompt: np.ndarray
    max_tokens: int
    seed: int
    tokenizer: TextTokenizer
    key: str = ""
    call_style: str = "none"

    @property
    def width(self) -> int:
        """Tokens that one row may come to."""
        return len(self.prompt) + self.max_tokens


class LiveAnswering:
    """A request under way; iterate it in one thread, cancel it from any.

    Args:
        asked: The request.
        on_cancel: Called when the caller has enough.
    """

    def __init__(self, asked: Asked, on_cancel: Callable[[LiveAnswering], None]) -> None:
        self.asked = asked
        self._on_cancel = on_cancel
        self._pieces: queue.SimpleQueue[Delta | ServeError] = queue.SimpleQueue()
        self._open = set(range(asked.request.n))
        self.is_cancelled = False

    @property
    def prompt_token_ids(self) -> tuple[int, ...]:
        """The rendered prompt."""
        return tuple(self.asked.prompt.tolist())

    def __iter__(self) -> Iterator[Delta]:
        """Yield pieces as they come; blocks the calling thread.

        Raises:
            ServeError: E-SRV-006 when the worker failed, E-SRV-004 when the server stopped before the end.
        """
        num_open = self.asked.request.n
        while num_open:
            piece = self._pieces.get()
            if isinstance(piece, ServeError):
                raise piece
            num_open -= piece.finish_reason is not None
            yield piece

    def cancel(self) -> None:
        """Give the slot back; the iteration ends with ``cancelled``. Safe to repeat."""
        self.is_cancelled = True
        self._on_cancel(self)

    def put(self, piece: Delta) -> None:
        """Hand a piece to the caller; the worker's side."""
        if piece.finish_reason is not None:
            self._open.discard(piece.index)
        self._pieces.put(piece)

    def end_cancelled(self) -> None:
        """End every open answer as cancelled; the worker's side."""
        for index in sorted(self._open):
            self.put(Delta(index=index, finish_reason="cancelled"))

    def fail(self, error: ServeError) -> None:
        """End the iteration with an error, unless all was said; the worker's side."""
        if self._open:
            self._open.clear()
            self._pieces.put(error)


@dataclass(eq=False)
class LiveRow:
    """One answer that is being written.

    Attributes:
        answering: Its request.
        index: Which of the request's answers.
        last_token: What the next step reads.
    """

    answering: LiveAnswering
    index: int
    last_token: int = 0
    stream: AnswerStream = field(init=False)
    draws: np.random.Generator = field(init=False)
    _token_ids: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Prepare the text and the stream of random numbers, which seed and index alone decide."""
        asked = self.asked
        self.stream = AnswerStream(asked.tokenizer, stop=asked.request.stop, call_style=asked.call_style)
        self.draws = np.random.Generator(np.random.PCG64(derive_seed(asked.seed, "answer", self.index)))

    @property
    def asked(self) -> Asked:
        """The request."""
        return self.answering.asked

    def take(self, token_id: int, logprob: float, shown: TokenLogprob | None) -> bool:
        """Take the next token and hand on what is certain.

        Args:
            token_id: The token.
            logprob: Its log-probability, nats.
            shown: The same in words where it was asked for.

        Returns:
            Whether the answer goes on.
        """
        self.last_token = token_id
        self._token_ids.append(token_id)
        is_end = token_id in self.asked.tokenizer.end_token_ids
        text = "" if is_end else self.stream.add(token_id)
        is_stopped = is_end or self.stream.is_stopped
        is_open = not is_stopped and len(self._token_ids) < self.asked.max_tokens
        finish_reason: FinishReason | None = None
        calls: tuple[ToolCall, ...] = ()
        if not is_open:
            closing = self.stream.close()
            text, calls = text + closing.text, closing.calls
            finish_reason = ("tool_calls" if calls else "stop") if is_stopped else "length"
        self.answering.put(
            Delta(
                index=self.index,
                text=text,
                token_ids=(token_id,),
                sum_logprob=logprob,
                logprobs=() if shown is None else (shown,),
                finish_reason=finish_reason,
                tool_calls=tuple(self._show_call(number, call) for number, call in enumerate(calls)),
            )
        )
        return is_open

    def _show_call(self, number: int, call: ToolCall) -> dict[str, object]:
        """Write a call in OpenAI's form, with an id that equal answers to equal prompts share."""
        said = np.concatenate([self.asked.prompt, self._token_ids, [number]]).astype(np.int64).tobytes()
        name = f"call_{hashlib.sha256(said).hexdigest()[:24]}"
        function = {"name": call.function.name, "arguments": call.function.arguments}
        return {"id": name, "type": "function", "function": function}


def describe_logprob(
    tokenizer: TextTokenizer, token_id: int, logprob: float, top: Sequence[tuple[int, float]]
) -> TokenLogprob:
    """Put a token's log-probability into words."""
    return TokenLogprob(
        token_id=token_id,
        token=tokenizer.decode([token_id]),
        logprob=logprob,
        top=tuple((other, tokenizer.decode([other]), value) for other, value in top),
    )
