"""Models that answer live: a request is rendered and checked here, then queued; the worker's thread computes it.

Order to read: ``sources`` (what is loaded), this file, ``worker`` (the loop), ``live_batch`` (who is computed
together), ``decoders`` and ``live_cache`` (tensors), ``answering`` (tokens to pieces of an answer).
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from luthier.foundation.core.errors import DataError, ModelError, ServeError
from luthier.foundation.schema.serving import ChatRequest, ServedModel
from luthier.instruments.engine.serving.answering import Asked, LiveAnswering
from luthier.instruments.engine.serving.live_batch import LiveBatch
from luthier.instruments.engine.serving.sources import ServedEntry, ServedSource, Shelf
from luthier.instruments.engine.serving.worker import Worker
from luthier.instruments.text.encode import encode_prompt


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """Bounds of a runtime.

    Attributes:
        precision: What weights are held in.
        max_queue: Most requests that wait.
        max_rows: Most answers computed together on one base.
        max_cache_tokens: Most tokens that the answers of one base may come to together, prompts included.
        max_tokens: Longest answer of a request that names no bound.
    """

    precision: Literal["fp32", "bf16"] = "fp32"
    max_queue: int = 64
    max_rows: int = 32
    max_cache_tokens: int = 32_768
    max_tokens: int = 2048


class TorchChatRuntime:
    """Answers with our own engine; the models stay loaded.

    Args:
        sources: What is served; names are unique.
        options: Bounds.

    Raises:
        ModelError: When a model cannot be loaded.
    """

    def __init__(self, sources: Iterable[ServedSource], options: RuntimeOptions) -> None:
        self._options = options
        self._shelf = Shelf(options.precision)
        _run_in_thread(lambda: self._shelf.add_all(sources))
        self._worker = Worker(self._make_batches, max_waiting=options.max_queue)
        self._worker.start()

    def models(self) -> tuple[ServedModel, ...]:
        """List what is served."""
        return tuple(entry.served for entry in self._shelf.entries.values())

    def submit(self, request: ChatRequest) -> LiveAnswering:
        """Render, check and queue a request.

        Raises:
            ServeError: E-SRV-001 for an unknown model, E-SRV-002 where prompt and answer do not fit, E-SRV-003 when
                the queue is full, E-SRV-004 when the server drains, E-SRV-005 when the template refuses, E-SRV-006
                when the worker is dead, E-SRV-007 for more answers than are computed together.
        """
        entry = self._find(request.model)
        self._worker.check_open()
        asked = self._prepare(entry, request)
        answering = LiveAnswering(asked, self._worker.cancel)
        self._worker.submit(entry.place, answering)
        return answering

    def is_ready(self) -> bool:
        """Say whether models are loaded and the worker lives."""
        return self._worker.is_ready

    def close(self, *, drain_seconds: float) -> None:
        """Take no more requests, finish what runs within the time, stop the worker."""
        self._worker.close(drain_seconds=drain_seconds)

    def _make_batches(self) -> list[LiveBatch]:
        bounds = {"max_rows": self._options.max_rows, "max_tokens": self._options.max_cache_tokens}
        return [LiveBatch(base.make_decoder(), **bounds) for base in self._shelf.bases]

    def _find(self, name: str) -> ServedEntry:
        entry = self._shelf.entries.get(name)
        if entry is None:
            raise ServeError(
                "E-SRV-001",
                "no model of this name is served",
                got=name,
                allowed=", ".join(self._shelf.entries),
                fix=f"ask for {next(iter(self._shelf.entries), 'a model that is served')}",
                field="model",
            )
        return entry

    def _prepare(self, entry: ServedEntry, request: ChatRequest) -> Asked:
        if request.n > self._options.max_rows:
            raise ServeError(
                "E-SRV-007",
                "more answers are asked for than are computed together",
                got=request.n,
                allowed=f"up to {self._options.max_rows}",
                fix="ask several times",
                field="n",
            )
        tools = () if request.tool_choice == "none" else request.tools
        prompt = _render(entry, request, tools)
        return Asked(
            request=request,
            prompt=prompt,
            max_tokens=self._bound_answer(len(prompt), entry.served.max_positions, request),
            seed=secrets.randbits(63) if request.seed is None else request.seed,
            tokenizer=entry.tokenizer,
            key=entry.key,
            call_style=entry.call_style if tools else "none",
        )

    def _bound_answer(self, num_prompt: int, max_positions: int, request: ChatRequest) -> int:
        """Return the longest answer; one that was asked for and does not fit is refused, never cut in silence."""
        room = min(max_positions, self._options.max_cache_tokens // request.n) - num_prompt
        wanted = request.max_tokens if request.max_tokens is not None else min(room, self._options.max_tokens)
        if not num_prompt or not 0 < wanted <= room:
            answers = f" in each of {request.n} answers" if request.n > 1 else ""
            raise ServeError(
                "E-SRV-002",
                "the prompt leaves no room for the answer" if num_prompt else "the prompt is empty",
                got=f"a prompt of {num_prompt} tokens, an answer of up to {max(wanted, 1)}{answers}",
                allowed=f"{max(0, room + num_prompt)} tokens together",
                fix=f"set max_tokens to {room}" if room > 0 else "shorten the conversation",
                field="max_tokens" if room > 0 else "messages",
            )
        return wanted


def _run_in_thread(load: Callable[[], None]) -> None:
    """Load in a thread that ends, so that the worker's is the only one with OpenMP threads of its own.

    libgomp stops spinning where threads that ever computed come to more than processors, and wakes them by the kernel
    instead: 0.1 ms a product, measured, half of what a token of SmolLM2-135M takes on two cores.
    """
    failures: list[Exception] = []

    def run() -> None:
        try:
            load()
        except Exception as error:  # noqa: BLE001  raised again below
            failures.append(error)

    thread = threading.Thread(target=run, name="luthier-loader", daemon=True)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def _render(entry: ServedEntry, request: ChatRequest, tools: tuple[dict[str, object], ...]) -> np.ndarray:
    template = entry.tokenizer.chat_template
    if tools and template is not None and not template.writes_tools:
        raise _refuse("it writes no tools", got=f"{len(tools)} tools", allowed="requests without tools")
    try:
        return encode_prompt(request.messages, tools, entry.tokenizer, origin="the request")
    except (DataError, ModelError) as error:
        problem = error.problems[0]
        allowed = problem.allowed or "a conversation that the template can write"
        raise _refuse(problem.what, got=problem.got, allowed=allowed) from error


def _refuse(why: str, *, got: str, allowed: str) -> ServeError:
    return ServeError(
        "E-SRV-005",
        f"the model's chat template does not take this conversation: {why}",
        got=got,
        origin="the request",
        allowed=allowed,
        fix="mend the messages" if "tools" not in why else "leave the tools out, or ask a model that knows tools",
        field="messages" if "tools" not in why else "tools",
    )
