"""What is noted of one request while it is answered, and becomes its facts."""

from __future__ import annotations

from luthier.foundation.core.clock import Clock
from luthier.foundation.core.errors import LuthierError, ServeError
from luthier.foundation.schema.serving import Answering, Delta, ServedModel
from luthier.foundation.schema.telemetry import UNKNOWN_MODEL, RequestContent, RequestFacts
from luthier.server.chat_call import ChatCall
from luthier.server.failures import find_status
from luthier.server.wire import Answer


class Notes:
    """One request's notes; written by the event loop alone."""

    def __init__(self, clock: Clock, request_id: str, *, trace_parent: str = "") -> None:
        """Start the watch."""
        self.time = clock.now().timestamp()
        self.request_id = request_id
        self.trace_parent = trace_parent
        self.response_id = ""
        self.call: ChatCall | None = None
        self.model: ServedModel | None = None
        self.prompt_token_ids: tuple[int, ...] = ()
        self.answers: list[Answer] = []
        self.status = 200
        self.code = ""
        self.is_client_gone = False
        self.is_answered = False
        self._clock = clock
        self._started = clock.monotonic()
        self._first_token_seconds: float | None = None

    def read(self, call: ChatCall, model: ServedModel) -> None:
        """Note what is asked of whom."""
        self.call = call
        self.model = model
        self.answers = [Answer() for _ in range(call.request.n)]

    def accept(self, answering: Answering, response_id: str) -> None:
        """Note that the runtime took the request."""
        self.prompt_token_ids = answering.prompt_token_ids
        self.response_id = response_id

    def add(self, delta: Delta) -> None:
        """Note one piece of an answer."""
        if self._first_token_seconds is None and (delta.token_ids or delta.text):
            self._first_token_seconds = self._clock.monotonic() - self._started
        self.answers[delta.index].add(delta)

    def refuse(self, error: LuthierError) -> None:
        """Note what the request was refused or broken off with."""
        self.status = find_status(error)
        self.code = error.code

    def check_whole(self) -> None:
        """Refuse to call an answer whole that was cut short.

        Raises:
            ServeError: E-SRV-004 when the server stopped before the end.
        """
        if any(answer.finish_reason in {None, "cancelled"} for answer in self.answers):
            raise ServeError(
                "E-SRV-004", "the server stops, and the answer was cut short", fix="send the request again"
            )

    @property
    def num_completion_tokens(self) -> int:
        """Tokens of all answers so far."""
        return sum(len(answer.token_ids) for answer in self.answers)

    def to_facts(self, *, keep_content: bool) -> RequestFacts:
        """Return what observers are told."""
        logprobs = [answer.sum_logprob for answer in self.answers if answer.sum_logprob is not None]
        return RequestFacts(
            time=self.time,
            request_id=self.request_id,
            response_id=self.response_id,
            model=self.model.name if self.model else UNKNOWN_MODEL,
            release=self.model.digest if self.model else "",
            status=self.status,
            code=self.code,
            seconds=self._clock.monotonic() - self._started,
            first_token_seconds=self._first_token_seconds,
            prompt_tokens=len(self.prompt_token_ids),
            completion_tokens=self.num_completion_tokens,
            num_answers=len(self.answers) if self.response_id else 0,
            finish_reason=self.answers[0].finish_reason if self.answers else None,
            mean_logprob=sum(logprobs) / self.num_completion_tokens if logprobs else None,
            trace_parent=self.trace_parent,
            is_streaming=bool(self.call and self.call.is_streaming),
            content=self._to_content() if keep_content else None,
        )

    def _to_content(self) -> RequestContent | None:
        if self.call is None or not self.response_id:
            return None
        return RequestContent(
            messages=self.call.request.messages,
            answers=tuple(answer.text for answer in self.answers),
            tools=self.call.request.tools,
        )
