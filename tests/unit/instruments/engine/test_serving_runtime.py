"""The serving runtime on a tiny model: company changes no answer; cancelling, draining and failing lose nothing."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.foundation.core.errors import ModelError, ServeError
from luthier.foundation.schema.rows import Message
from luthier.foundation.schema.serving import ChatRequest
from luthier.instruments.engine.load import LoadedModel, load_model
from luthier.instruments.engine.serving.decoders import LiveDecoder, PlainDecoder
from luthier.instruments.engine.serving.runtime import RuntimeOptions, TorchChatRuntime
from luthier.instruments.engine.serving.sources import Shelf
from tests.fixtures.served_models import ask, gather, read_ids, read_text, source, write_base

SENTENCES = ("reset my card", "where is my parcel", "one word", "tell me the balance of account 7", "so")


_OPENED: list[TorchChatRuntime] = []
_GATES: list[Gate] = []


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("served") / "base")


@pytest.fixture
def runtime(base: Path) -> TorchChatRuntime:
    return _open(base)


@pytest.fixture(autouse=True)
def opened() -> Iterator[list[TorchChatRuntime]]:
    """Close what a test opened, whatever became of the test: a worker that waits would keep the process."""
    yield _OPENED
    for gate in _GATES:
        gate.open()
    for runtime in _OPENED:
        runtime.close(drain_seconds=0)
    _GATES.clear()
    _OPENED.clear()


def _open(base: Path, **options: Any) -> TorchChatRuntime:
    made = TorchChatRuntime([source("base", base)], RuntimeOptions(**options))
    _OPENED.append(made)
    return made


class Gate:
    """Holds the worker before each step until it is opened, so that tests choose what waits together."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        _GATES.append(self)
        self._opened = threading.Semaphore(0)
        self.num_steps = 0
        self.num_tokens = 0
        step, add = LiveDecoder.step, LiveDecoder.add
        gate = self

        def held_step(self: LiveDecoder, *given: Any) -> torch.Tensor:
            gate._wait()
            gate.num_tokens += len(given[0])
            return step(self, *given)

        def held_add(self: LiveDecoder, *given: Any) -> torch.Tensor:
            gate._wait()
            return add(self, *given)

        monkeypatch.setattr(LiveDecoder, "step", held_step)
        monkeypatch.setattr(LiveDecoder, "add", held_add)

    def _wait(self) -> None:
        self._opened.acquire()
        self.num_steps += 1

    def open(self, count: int = 100_000) -> None:
        """Let the worker compute so many passes."""
        self._opened.release(count)


def _refusal(runtime: TorchChatRuntime, request: ChatRequest) -> str:
    with pytest.raises(ServeError) as caught:
        runtime.submit(request)
    problem = caught.value.problems[0]
    assert problem.what
    assert problem.got
    assert problem.allowed
    assert problem.fix
    return problem.code


@given(st.data())
@settings(max_examples=15)
def test_rows_that_come_and_go_get_the_logits_of_a_pass_alone(served_model: LoadedModel, data: st.DataObject) -> None:
    """Prompts, some of which begin alike, join and leave between steps; every row's logits are a fresh pass's."""
    decoder = LiveDecoder(served_model, recent_tokens=data.draw(st.sampled_from([0, 150, 4096])))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    beginnings = [rng.integers(8, 320, length) for length in (0, 20, 70)]
    rows: list[list[int]] = []
    for _ in range(data.draw(st.integers(1, 12))):
        action = data.draw(st.sampled_from(["add", "step", "drop"])) if rows else "add"
        if action == "add":
            prompts = [
                np.concatenate([data.draw(st.sampled_from(beginnings)), rng.integers(8, 320, length)])
                for length in data.draw(st.lists(st.integers(1, 90), min_size=1, max_size=3))
            ]
            copies = [data.draw(st.integers(1, 2)) for _ in prompts]
            logits = decoder.add(prompts, [""] * len(prompts), copies)
            new = [prompt.tolist() for prompt in prompts]
            rows += [list(row) for row, count in zip(new, copies, strict=True) for _ in range(count)]
            checked = new
        elif action == "step":
            tokens = rng.integers(8, 320, len(rows)).tolist()
            logits = decoder.step(tokens, [""] * len(rows))
            rows = [[*row, token] for row, token in zip(rows, tokens, strict=True)]
            checked = rows
        else:
            place = data.draw(st.integers(0, len(rows) - 1))
            decoder.drop(place)
            last = rows.pop()
            if place < len(rows):
                rows[place] = last
            continue
        torch.testing.assert_close(logits, _alone(served_model, checked), rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def served_model(base: Path) -> LoadedModel:
    return load_model(base)


@torch.no_grad()
def _alone(loaded: LoadedModel, rows: list[list[int]]) -> torch.Tensor:
    with loaded.plain_attention():
        return torch.stack([loaded.model(torch.tensor([row]), use_cache=False).logits[0, -1] for row in rows])


def test_architectures_with_a_cache_of_their_own_are_served_row_by_row(served_model: LoadedModel) -> None:
    prompts = [np.arange(8, 20), np.arange(30, 33)]
    live, plain = LiveDecoder(served_model), PlainDecoder(served_model)
    for decoder in (live, plain):
        torch.testing.assert_close(
            decoder.add(prompts, ["", ""], [2, 1]),
            _alone(served_model, [p.tolist() for p in prompts]),
            rtol=0,
            atol=1e-4,
        )
        decoder.drop(0)
    tokens = [5, 6]  # the third row has taken the first one's place
    rows = [[*range(30, 33), 5], [*range(8, 20), 6]]
    for decoder in (live, plain):
        torch.testing.assert_close(decoder.step(tokens, ["", ""]), _alone(served_model, rows), rtol=0, atol=1e-4)


def test_a_seed_gives_its_answer_whatever_is_computed_beside_it(runtime: TorchChatRuntime) -> None:
    request = ask(SENTENCES[0], temperature=1.1, top_p=0.9, seed=7, n=2, max_tokens=12)
    alone = {index: read_ids(pieces) for index, pieces in gather(runtime.submit(request)).items()}
    others = [runtime.submit(ask(text, temperature=0.9, seed=3, max_tokens=20)) for text in SENTENCES]
    among = runtime.submit(request)
    others += [runtime.submit(ask(text, max_tokens=5)) for text in SENTENCES]
    assert {index: read_ids(pieces) for index, pieces in gather(among).items()} == alone
    assert alone[0] != alone[1], "each answer has its own stream"
    other_seed = runtime.submit(request.model_copy(update={"seed": 8}))
    assert {index: read_ids(pieces) for index, pieces in gather(other_seed).items()} != alone
    for answering in others:
        assert list(answering)[-1].finish_reason in {"stop", "length"}


def test_requests_that_wait_together_are_computed_together(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    runtime = _open(base)
    first = runtime.submit(ask("so", max_tokens=8))
    others = [runtime.submit(ask("so", max_tokens=8)) for _ in range(5)]
    gate.open()
    answers = {read_ids(answering) for answering in (first, *others)}
    runtime.close(drain_seconds=10)
    assert len(answers) == 1
    assert gate.num_steps <= 2 + 8, "one prompt, then five prompts side by side, then a pass a token for all six"


def test_a_prompt_is_computed_once_for_all_of_its_answers(
    runtime: TorchChatRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    add = LiveDecoder.add

    def counting(self: LiveDecoder, prompts: list[np.ndarray], keys: list[str], copies: list[int]) -> torch.Tensor:
        seen.append(len(prompts))
        return add(self, prompts, keys, copies)

    monkeypatch.setattr(LiveDecoder, "add", counting)
    found = gather(runtime.submit(ask(SENTENCES[1], n=4, max_tokens=3)))
    assert sorted(found) == [0, 1, 2, 3]
    assert len({read_ids(pieces) for pieces in found.values()}) == 1, "greedy answers are equal"
    assert seen == [1]


def test_models_are_loaded_by_a_thread_that_ends_and_a_refusal_reaches_the_caller(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads that computed and live on make OpenMP wake the worker's by the kernel, at each product."""
    seen: list[threading.Thread] = []
    add_all = Shelf.add_all

    def add_and_see(self: Shelf, sources: Any) -> None:
        seen.append(threading.current_thread())
        add_all(self, sources)

    monkeypatch.setattr(Shelf, "add_all", add_and_see)
    _open(base)
    (base / "model.safetensors").rename(base / "away")
    with pytest.raises(ModelError):
        _open(base)
    (base / "away").rename(base / "model.safetensors")
    assert [thread.is_alive() or thread is threading.current_thread() for thread in seen] == [False, False]


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tokens of each pass."""
    counted: list[int] = []
    run = LiveDecoder._pass

    def counting(self: LiveDecoder, cache: Any, ids_BQ: torch.Tensor, keys: Any) -> torch.Tensor:
        counted.append(ids_BQ.numel())
        return run(self, cache, ids_BQ, keys)

    monkeypatch.setattr(LiveDecoder, "_pass", counting)
    return counted


def test_what_a_prompt_shares_with_an_earlier_one_of_its_adapter_is_not_computed_again(
    served_model: LoadedModel, computed: list[int]
) -> None:
    decoder = LiveDecoder(served_model, recent_tokens=200)
    prompt = np.arange(100)
    for asked, key in (
        (prompt, ""),  # nothing is known
        (np.append(prompt, [7, 8, 9]), ""),  # a next turn
        (prompt, ""),  # its last token's logits are wanted in any case
        (prompt, "other"),  # another adapter computes other keys
        (np.arange(5, 190), ""),  # begins otherwise, and drives the others out
        (prompt, ""),
    ):
        decoder.add([asked], [key], [1])
    assert computed == [100, 3, 1, 100, 185, 100]


def test_a_long_beginning_that_prompts_of_one_adapter_share_is_computed_once(
    served_model: LoadedModel, computed: list[int]
) -> None:
    policy = np.arange(8, 108)
    prompts = [np.append(policy, [last, last + 1]) for last in (200, 210, 220)]
    LiveDecoder(served_model).add(prompts, [""] * 3, [1, 2, 1])
    LiveDecoder(served_model).add(prompts, ["", "", "other"], [1, 1, 1])
    LiveDecoder(served_model, recent_tokens=99).add(prompts, [""] * 3, [1, 1, 1])
    LiveDecoder(served_model).add([prompt[60:] for prompt in prompts[:2]], [""] * 2, [1, 1])
    known = LiveDecoder(served_model)
    known.add(prompts[:1], [""], [1])
    known.add(prompts[1:], [""] * 2, [1, 1])
    assert computed == [
        100, 3 * 2,  # once, then the rests
        100, 3 * 102,  # two share it; the other adapter's row pads theirs
        3 * 102,  # nothing could be kept
        2 * 42,  # too little to be worth a pass of its own
        102, 2 * 2,  # known from before
    ]  # fmt: skip


def test_an_answer_ends_at_its_stop_text_across_tokens_and_without_it(runtime: TorchChatRuntime) -> None:
    whole = read_text(runtime.submit(ask(SENTENCES[3], max_tokens=20)))
    stop = whole[6:9]
    pieces = list(runtime.submit(ask(SENTENCES[3], max_tokens=20, stop=(stop, "never said"))))
    assert read_text(pieces) == whole[: whole.index(stop)]
    assert pieces[-1].finish_reason == "stop"
    assert [piece.finish_reason for piece in pieces[:-1]] == [None] * (len(pieces) - 1)


def test_an_answer_ends_at_its_bound_or_at_an_end_token_which_is_shown_among_the_tokens(
    runtime: TorchChatRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces = list(runtime.submit(ask(SENTENCES[2], max_tokens=5)))
    assert (len(read_ids(pieces)), pieces[-1].finish_reason) == (5, "length")
    third = read_ids(pieces)[2]
    tokenizer = runtime._find("base").tokenizer
    monkeypatch.setattr(tokenizer, "end_token_ids", tokenizer.end_token_ids | {third})
    ended = list(runtime.submit(ask(SENTENCES[2], max_tokens=5)))
    assert read_ids(ended)[-1] == third
    assert ended[-1].finish_reason == "stop"
    assert read_text(ended) == tokenizer.decode(list(read_ids(ended)[:-1])), "the end is no text"


def test_calls_in_an_answer_become_tool_calls_where_tools_were_given(
    runtime: TorchChatRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is made to say a call; with tools hidden the same words are text."""
    entry = runtime._find("base")
    said = entry.tokenizer.encode(
        'ok\n<tool_call>\n{"name": "pay", "arguments": {"sum": 3}}\n</tool_call>'
    ).ids.tolist()
    step, add, place = LiveDecoder.step, LiveDecoder.add, [0]

    def say(self: LiveDecoder, *given: Any) -> torch.Tensor:
        logits = (add if isinstance(given[0][0], np.ndarray) else step)(self, *given)
        token = [*said, entry.tokenizer.end_token_id][place[0] % (len(said) + 1)]
        place[0] += 1
        return torch.nn.functional.one_hot(torch.tensor([token] * len(logits)), logits.shape[1]).float()

    monkeypatch.setattr(LiveDecoder, "step", say)
    monkeypatch.setattr(LiveDecoder, "add", say)
    monkeypatch.setattr(entry.tokenizer, "chat_template", None)
    monkeypatch.setattr(
        "luthier.instruments.engine.serving.runtime.encode_prompt", lambda *_, **__: np.arange(8, 12, dtype=np.int32)
    )
    tool = {"type": "function", "function": {"name": "pay", "parameters": {"type": "object"}}}
    object.__setattr__(entry, "call_style", "hermes")
    pieces = list(runtime.submit(ask("pay", tools=(tool,), max_tokens=200)))
    (call,) = pieces[-1].tool_calls
    assert call["function"] == {"name": "pay", "arguments": '{"sum": 3}'}
    assert call["type"] == "function"
    assert call["id"].startswith("call_")
    assert (read_text(pieces), pieces[-1].finish_reason) == ("ok", "tool_calls")
    hidden = list(runtime.submit(ask("pay", tools=(tool,), tool_choice="none", max_tokens=200)))
    assert (hidden[-1].tool_calls, hidden[-1].finish_reason) == ((), "stop")
    assert "<tool_call>" in read_text(hidden)


def test_a_cancelled_request_leaves_at_the_next_step_and_the_others_go_on(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = _answer_alone(base, ask(SENTENCES[1], max_tokens=30))
    gate = Gate(monkeypatch)
    runtime = _open_endless(base, max_rows=2)
    gone = runtime.submit(ask(SENTENCES[0], max_tokens=400))
    stays = runtime.submit(ask(SENTENCES[1], max_tokens=30))
    waits = runtime.submit(ask(SENTENCES[2], max_tokens=2))
    gate.open(8)
    pieces = iter(gone)
    next(pieces)
    gone.cancel()
    gone.cancel()
    gate.open()
    assert [piece.finish_reason for piece in pieces][-1] == "cancelled"
    assert read_ids(stays) == expected
    assert list(waits)[-1].finish_reason == "length", "the place that became free was taken"
    runtime.close(drain_seconds=10)
    assert gate.num_tokens <= 30 + 8 + 2, "what was cancelled is computed no further"


def _open_endless(base: Path, **options: Any) -> TorchChatRuntime:
    """Open a runtime whose answers end at their bound only."""
    runtime = _open(base, **options)
    runtime._find("base").tokenizer.end_token_ids = frozenset()
    return runtime


def _answer_alone(base: Path, request: ChatRequest) -> tuple[int, ...]:
    runtime = _open_endless(base)
    ids = read_ids(runtime.submit(request))
    runtime.close(drain_seconds=10)
    return ids


def test_a_request_that_waits_is_cancelled_at_once(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    runtime = _open(base, max_rows=1)
    runs = runtime.submit(ask("so", max_tokens=2))
    waits = [runtime.submit(ask("so", max_tokens=2, n=1)) for _ in range(2)]
    waits[-1].cancel()
    assert [piece.finish_reason for piece in waits[-1]] == ["cancelled"]
    gate.open()
    assert [list(answering)[-1].finish_reason for answering in (runs, waits[0])] == ["length", "length"]
    runtime.close(drain_seconds=10)


def test_a_full_queue_refuses_and_takes_again_when_there_is_room(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    runtime = _open(base, max_rows=1, max_queue=2)
    taken = [runtime.submit(ask("so", max_tokens=1))]
    while len(taken) < 3:  # the first may still be in the queue
        try:
            taken.append(runtime.submit(ask("so", max_tokens=1)))
        except ServeError:
            continue
    assert _refusal(runtime, ask("so")) == "E-SRV-003"
    gate.open()
    assert [list(answering)[-1].finish_reason for answering in taken] == ["length"] * 3
    assert read_ids(runtime.submit(ask("so", max_tokens=1)))
    runtime.close(drain_seconds=10)


def test_what_cannot_be_answered_is_refused_with_its_code(base: Path) -> None:
    runtime = _open(base, max_rows=4, max_cache_tokens=600)
    assert _refusal(runtime, ask("so", "other\x1b[2J")) == "E-SRV-001"
    assert _refusal(runtime, ask("so " * 600)) == "E-SRV-002"
    assert _refusal(runtime, ask("so", max_tokens=511)) == "E-SRV-002"
    assert _refusal(runtime, ask("so", max_tokens=400, n=2)) == "E-SRV-002"
    assert _refusal(runtime, ask("so", n=5)) == "E-SRV-007"
    tool = {"type": "function", "function": {"name": "pay", "parameters": {"type": "object"}}}
    assert _refusal(runtime, ask("so", tools=(tool,))) == "E-SRV-005"
    entry = runtime._find("base")
    strict = entry.tokenizer.with_chat_template("{{ raise_exception('no ' + messages[0].role) }}")
    runtime._shelf.entries["strict"] = dataclasses.replace(entry, tokenizer=strict)
    assert _refusal(runtime, ask("so", "strict")) == "E-SRV-005"
    runtime.close(drain_seconds=0)
    assert _refusal(runtime, ask("so")) == "E-SRV-004"
    assert not runtime.is_ready()


def test_an_answer_without_a_bound_ends_where_the_positions_do(runtime: TorchChatRuntime) -> None:
    answering = runtime.submit(ask("so", temperature=1.0, seed=1))
    pieces = list(answering)
    total = len(answering.prompt_token_ids) + len(read_ids(pieces))
    assert pieces[-1].finish_reason == "stop" or total == 512


def test_closing_finishes_what_runs_and_refuses_what_comes(base: Path) -> None:
    runtime = _open(base)
    answerings = [runtime.submit(ask(text, max_tokens=40)) for text in SENTENCES]
    runtime.close(drain_seconds=30)
    assert all(list(answering)[-1].finish_reason in {"stop", "length"} for answering in answerings)
    assert _refusal(runtime, ask("so")) == "E-SRV-004"
    runtime.close(drain_seconds=30)


def test_what_is_not_finished_in_time_ends_with_an_error(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    runtime = _open(base, max_rows=1)
    runs, waits = (runtime.submit(ask("so", max_tokens=400)) for _ in range(2))
    gate.open(2)
    next(iter(runs))
    closing = threading.Thread(target=runtime.close, kwargs={"drain_seconds": 0.05})
    closing.start()
    closing.join(0.5)  # longer than the drain
    gate.open()
    closing.join()
    for answering in (runs, waits):
        with pytest.raises(ServeError) as caught:
            list(answering)
        assert caught.value.code == "E-SRV-004"


def test_a_failing_worker_ends_what_ran_and_begins_anew(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = _open(base)
    step, num_rows = LiveDecoder.step, []

    def failing(self: LiveDecoder, *given: Any) -> torch.Tensor:
        num_rows.append(len(given[0]))
        if len(num_rows) == 1:
            message = "not enough memory"
            raise RuntimeError(message)
        return step(self, *given)

    monkeypatch.setattr(LiveDecoder, "step", failing)
    with pytest.raises(ServeError, match="not enough memory") as caught:
        list(runtime.submit(ask("so", max_tokens=9)))
    assert caught.value.code == "E-SRV-006"
    assert runtime.is_ready()
    assert len(read_ids(runtime.submit(ask("so", max_tokens=9)))) == 9
    assert set(num_rows) == {1}, "what failed is computed no further"
    runtime.close(drain_seconds=10)


@pytest.mark.parametrize("broken", ["step", "add"])
def test_a_worker_that_fails_again_at_once_is_given_up(
    base: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def failing(self: LiveDecoder, *given: Any) -> torch.Tensor:
        raise ValueError(broken)

    runtime = _open(base)
    monkeypatch.setattr(LiveDecoder, broken, failing)
    for _ in range(2):
        with pytest.raises(ServeError) as caught:
            list(runtime.submit(ask("so", max_tokens=9)))
        assert caught.value.code == "E-SRV-006"
    runtime._worker._thread.join(10)
    assert not runtime.is_ready()
    assert _refusal(runtime, ask("so")) == "E-SRV-006"
    runtime.close(drain_seconds=0)


def test_a_conversation_goes_on_where_it_was(runtime: TorchChatRuntime) -> None:
    """History is part of the prompt: the second turn's prompt begins with the first one's."""
    first = runtime.submit(ask(SENTENCES[0], max_tokens=4))
    answer = read_text(first)
    messages = (
        Message(role="user", content=SENTENCES[0]),
        Message(role="assistant", content=answer),
        Message(role="user", content="and now"),
    )
    second = runtime.submit(ChatRequest(model="base", messages=messages, max_tokens=4))
    assert second.prompt_token_ids[: len(first.prompt_token_ids)] == first.prompt_token_ids
    assert len(read_ids(second)) <= 4
