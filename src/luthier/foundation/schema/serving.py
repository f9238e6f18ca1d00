"""What a face asks of a model that answers live, and what it gets back. No tensors, no HTTP.

``server`` turns HTTP into these; ``engine`` answers them. Both know this file and nothing of each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field

from luthier.foundation.schema.noun import Noun
from luthier.foundation.schema.rows import Message

FinishReason = Literal["stop", "length", "tool_calls", "cancelled"]


class ChatRequest(Noun):
    """One request to answer a conversation, already checked for form and bounds.

    Attributes:
        model: Name of a served model, as :class:`ServedModel` lists it.
        messages: The conversation so far.
        tools: JSON objects in OpenAI's form; empty where there are none.
        tool_choice: ``none`` hides the tools from the template.
        max_tokens: Longest answer; None for what the context leaves, up to the server's cap.
        temperature: 0 is greedy.
        top_p: Share of the probability that may be drawn from.
        seed: Seed of the draws; equal requests with equal seeds give equal answers, whatever runs beside them.
        stop: Texts that end an answer and are not part of it.
        n: Answers wanted.
        top_logprobs: Likeliest tokens wanted at each place; None where no log-probabilities are wanted.
    """

    model: str
    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = ()
    tool_choice: Literal["auto", "none"] = "auto"
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] = 0.0
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    n: Annotated[int, Field(ge=1)] = 1
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None


class TokenLogprob(Noun):
    """One token with its log-probability in nats."""

    token_id: int
    token: str
    logprob: float
    top: tuple[tuple[int, str, float], ...] = ()


class Delta(Noun):
    """A piece of one answer, in order. The last of an answer has a ``finish_reason``.

    Attributes:
        index: Which of the ``n`` answers.
        text: Text that is now certain; may be empty while bytes or a stop text are incomplete.
        token_ids: Tokens that were generated since the last piece, the ending one included.
        sum_logprob: Log-probability of ``token_ids`` together, nats; None where the runtime knows none.
        logprobs: One for each of ``token_ids`` where they were asked for.
        tool_calls: Parsed calls in OpenAI's form; on the last piece only.
    """

    index: int
    text: str = ""
    token_ids: tuple[int, ...] = ()
    sum_logprob: float | None = None
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    tool_calls: tuple[dict[str, Any], ...] = ()


class ServedModel(Noun):
    """One name that requests may ask for.

    Attributes:
        name: What ``model`` of a request says.
        ref: What was served under it.
        digest: Release digest, or digest of the weights where it is no release.
        base: Name of the base.
        max_positions: Tokens that prompt and answer may have together.
        created: Seconds since 1970.
    """

    name: str
    ref: str
    digest: str
    base: str
    max_positions: int
    created: int = 0


class Answering(Protocol):
    """One request under way; iterate it in one thread, cancel it from any."""

    @property
    def prompt_token_ids(self) -> tuple[int, ...]:
        """The rendered prompt."""
        ...

    def __iter__(self) -> Iterator[Delta]:
        """Yield pieces as they come; blocks the calling thread.

        Raises:
            ServeError: When the worker failed.
        """
        ...

    def cancel(self) -> None:
        """Give the slot back; the iteration ends with ``cancelled``. Safe to repeat."""
        ...


class ChatRuntime(Protocol):
    """Models that answer live. ``submit`` may be called from any thread."""

    def models(self) -> tuple[ServedModel, ...]:
        """List what is served."""
        ...

    def submit(self, request: ChatRequest) -> Answering:
        """Render, check and queue a request.

        Raises:
            ServeError: For an unknown model, a prompt that leaves no room, a full queue, a server that drains, a
                conversation that the template refuses.
        """
        ...

    def is_ready(self) -> bool:
        """Say whether models are loaded and the worker lives."""
        ...

    def close(self, *, drain_seconds: float) -> None:
        """Take no more requests, finish what runs within the time, stop the worker."""
        ...
