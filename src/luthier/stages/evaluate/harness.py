"""Questions in, answers out: fixed batches, each kept on disk before the next is asked.

After a kill no kept answer is asked again, and an unfinished batch is asked again whole, so the answers are those of
an undisturbed evaluation. This file knows no tensors: what answers is a :class:`Machine`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from luthier.foundation.core.errors import EvalError
from luthier.foundation.core.files import REAL, FileSystem, disk_errors, write_atomic
from luthier.foundation.core.hashing import sha256_bytes, sha256_json
from luthier.foundation.core.progress import Progress
from luthier.stages.evaluate.suite import Asked, PlannedSuite, Prompt

ANSWERS_NAME: Final = "answers.jsonl"


@dataclass(frozen=True, slots=True)
class Answer:
    """What one system made of one question.

    Attributes:
        text: The generated answer; empty where text was weighed.
        finish: ``stop``, ``length``, ``weighed`` or ``given``, where the system is no model.
        nats: Negative log-likelihood of the reference; None where an answer was generated.
        other_nats: The same of a pair's rejected answer; None where there is no pair.
        mean_logprob: Mean log-probability of a generated answer's tokens under its model, nats; None where nothing
            was generated or the model does not say.
    """

    text: str = ""
    finish: str = "weighed"
    nats: float | None = None
    other_nats: float | None = None
    mean_logprob: float | None = None

    @property
    def lead(self) -> float | None:
        """By how many nats the chosen answer of a pair is likelier than the rejected one."""
        return None if self.nats is None or self.other_nats is None else self.other_nats - self.nats


class Machine(Protocol):
    """Answers questions as one of the systems."""

    def using(self, system: str) -> AbstractContextManager[None]:
        """Be that system inside the context."""
        ...

    def plan(self, prompts: Sequence[Asked], max_new_tokens: int) -> list[tuple[int, ...]]:
        """Cut prompts into batches that depend on the prompts alone; 0 new tokens means that they are weighed."""
        ...

    def answer(
        self, prompts: Sequence[Asked], max_new_tokens: int, open_batches: Sequence[int]
    ) -> Iterator[list[Answer]]:
        """Answer the planned batches of these numbers, one after another, or weigh them."""
        ...


Answers = dict[tuple[str, str], dict[str, Answer]]
"""(suite, system) to question id to answer."""


class AnswerLog:
    """The answers so far, a line a batch. A torn last line is an unfinished batch; it is forgotten."""

    def __init__(self, path: Path, *, fs: FileSystem = REAL) -> None:
        """Read what an earlier attempt kept.

        Raises:
            EvalError: E-EVA-008 when a line before the last cannot be read.
        """
        self._path = path
        self._kept: dict[str, list[Answer]] = {}
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        whole = lines if not lines or lines[-1].endswith(b"\n") else lines[:-1]
        for number, line in enumerate(whole, start=1):
            self._read(line, number)
        if len(whole) < len(lines):
            write_atomic(path, b"".join(whole), fs=fs)

    def _read(self, line: bytes, number: int) -> None:
        try:
            entry = json.loads(line)
            self._kept[entry["batch"]] = [Answer(**answer) for answer in entry["answers"]]
        except (ValueError, KeyError, TypeError) as error:
            raise EvalError(
                "E-EVA-008",
                "a line of the answers so far cannot be read",
                got=str(error),
                origin=f"{self._path} line {number}",
                allowed="lines as they were written",
                fix=f"rm {self._path}",
            ) from error

    def find(self, batch: str) -> list[Answer] | None:
        """Return a batch's answers, None where it is still open."""
        return self._kept.get(batch)

    def keep(self, batch: str, answers: Sequence[Answer]) -> None:
        """Put a batch on disk.

        Raises:
            StoreError: E-ENV-003 when the disk is full; the batches before stay.
        """
        entry = {"batch": batch, "answers": [asdict(answer) for answer in answers]}
        with disk_errors(self._path.parent, self._path.name), self._path.open("ab") as stream:
            stream.write(json.dumps(entry).encode() + b"\n")
            stream.flush()
        REAL.sync_file(self._path)
        self._kept[batch] = list(answers)


def ask_all(
    suites: Sequence[PlannedSuite], systems: Sequence[str], machine: Machine, log: AnswerLog, progress: Progress
) -> Answers:
    """Have every question answered by every system, system by system.

    Args:
        suites: With their questions.
        systems: In the order in which they are to be loaded: bases first.
        machine: What answers.
        log: Where answers are kept.
        progress: Shows how far it is.
    """
    answers: Answers = {}
    total = sum(len(planned.asked_of(system)) for planned in suites for system in planned.systems)
    with progress.task("evaluate", total=total, unit="answers") as bar:
        for system in systems:
            for planned in suites:
                if system in planned.systems:
                    found = _ask(planned, system, machine, log)
                    answers[planned.name, system] = {}
                    for prompt, answer in found:
                        answers[planned.name, system][prompt.id] = answer
                        bar.advance(1, system=system)
    return answers


def _ask(planned: PlannedSuite, system: str, machine: Machine, log: AnswerLog) -> Iterator[tuple[Prompt, Answer]]:
    max_new_tokens = planned.suite.max_new_tokens(planned.config)
    given = [prompt for prompt in planned.asked_of(system) if system in prompt.given]
    yield from ((prompt, Answer(prompt.given[system], "given")) for prompt in given)
    asked = [prompt for prompt in planned.asked_of(system) if system not in prompt.given]
    if not asked:
        return
    prompts = [prompt.asked_of(system) for prompt in asked]
    batches = machine.plan(prompts, max_new_tokens)
    names = [
        _name_batch((planned.name, system, max_new_tokens), [(asked[i].id, prompts[i]) for i in batch])
        for batch in batches
    ]
    open_batches = [number for number, name in enumerate(names) if log.find(name) is None]
    if open_batches:
        with machine.using(system):
            answered = machine.answer(prompts, max_new_tokens, open_batches)
            for number, answers in zip(open_batches, answered, strict=True):
                log.keep(names[number], answers)
                yield from _pair(asked, batches[number], answers)
    for number in sorted(set(range(len(batches))) - set(open_batches)):
        yield from _pair(asked, batches[number], log.find(names[number]) or [])


def _pair(
    prompts: Sequence[Prompt], batch: Sequence[int], answers: Sequence[Answer]
) -> Iterator[tuple[Prompt, Answer]]:
    for place, answer in zip(batch, answers, strict=True):
        yield prompts[place], answer


def _name_batch(what: tuple[str, str, int], members: Sequence[tuple[str, Asked]]) -> str:
    """Name a batch by all that its answers depend on, so that another question's answer is never taken for it."""
    named = [[name, *(_digest_ids(ids) for ids in _list_ids(asked))] for name, asked in members]
    return sha256_json([list(what), named])[:24]


def _list_ids(asked: Asked) -> Iterator[np.ndarray]:
    if isinstance(asked, np.ndarray):
        yield asked
        return
    for sequence in asked.sequences:
        yield sequence.token_ids_T
        yield np.flatnonzero(sequence.weights_T)


def _digest_ids(ids: np.ndarray) -> str:
    return sha256_bytes(np.asarray(ids, dtype="<i4").tobytes())
