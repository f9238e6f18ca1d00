"""What a suite is: it gathers questions; ``harness.py`` has them answered. A suite never touches a model's tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from luthier.foundation.core.errors import EvalError
from luthier.foundation.core.hashing import sha256_json
from luthier.foundation.schema.plugins import SuiteConfig
from luthier.foundation.schema.rows import Message, Row
from luthier.foundation.schema.sections import PluginChoice
from luthier.instruments.text.pairs import EncodedPair
from luthier.instruments.text.tokens import TextTokenizer

Asked = np.ndarray | EncodedPair
"""What a machine is given of one question: tokens to go on from or to weigh, or two answers to weigh."""


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """One question as it is put.

    Attributes:
        id: Unique in its suite.
        row_id: The row that it comes from.
        cluster: Questions of one cluster are not independent.
        messages: The history, for people; empty for plain text.
        reference: The true answer, or the text that is weighed.
        token_ids: For each system what it is shown; text that is weighed has one entry, for all.
        fields: Further columns of the row.
        pair: Two answers to one prompt, both weighed; None where one text is weighed or answered.
        given: Answers of systems that are no models.
        left_out: Systems that are not asked this question.
    """

    id: str
    row_id: str
    cluster: str
    messages: tuple[Message, ...]
    reference: Message
    token_ids: Mapping[str, np.ndarray]
    fields: Mapping[str, Any] = field(default_factory=dict)
    pair: EncodedPair | None = None
    given: Mapping[str, str] = field(default_factory=dict)
    left_out: frozenset[str] = frozenset()

    def asked_of(self, system: str) -> Asked:
        """Return what a system is given."""
        return self.ids_for(system) if self.pair is None else self.pair

    def ids_for(self, system: str) -> np.ndarray:
        """Return the tokens that a system is shown."""
        return self.token_ids[system] if system in self.token_ids else self.token_ids[""]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a suite's questions come from.

    Attributes:
        rows: Rows of a set by name; raises E-EVA-003 for an unknown one.
        sample: Texts that the base itself writes: (count, tokens of each) to token ids.
        tokenizer: The base's, with the chat template in use.
        systems: Systems that will be asked, in order.
        max_positions: Tokens that the base can hold.
        seed: The recipe's.
        say: Tells the person who waits.
    """

    rows: Callable[[str], Iterator[Row]]
    sample: Callable[[int, int], list[list[int]]]
    tokenizer: TextTokenizer
    systems: tuple[str, ...]
    max_positions: int
    seed: int
    say: Callable[[str], None]


class Suite(Protocol):
    """Gathers questions and says how they are answered.

    Attributes:
        kind: ``answers`` are generated; ``likelihood`` weighs the reference itself.
    """

    kind: Literal["answers", "likelihood"]

    def systems(self, asked: Sequence[str]) -> tuple[str, ...]:
        """Return which of the recipe's systems the suite compares."""
        ...

    def gather(self, config: Any, source: Source) -> list[Prompt]:  # noqa: ANN401  the suite's own Config
        """Return the questions, fixed beforehand.

        Raises:
            EvalError: E-EVA-001 to E-EVA-004.
        """
        ...

    def metrics(self, config: Any) -> tuple[PluginChoice, ...]:  # noqa: ANN401
        """Return what is reported."""
        ...

    def max_new_tokens(self, config: Any) -> int:  # noqa: ANN401
        """Return the longest answer; 0 where none is generated."""
        ...


class LikelihoodSuite:
    """What suites share that weigh texts under each system and generate nothing."""

    kind: Literal["answers", "likelihood"] = "likelihood"

    def systems(self, asked: Sequence[str]) -> tuple[str, ...]:
        """Leave out the bases that are told more, which have the same weights, and what is no model."""
        return tuple(system for system in asked if system in {"base", "tuned"})

    def metrics(self, config: SuiteConfig) -> tuple[PluginChoice, ...]:
        """Return the metrics that the configuration names."""
        return tuple(PluginChoice(type=name) for name in config.metric_names())

    def max_new_tokens(self, config: SuiteConfig) -> int:  # noqa: ARG002  protocol
        """Generate nothing."""
        return 0


@dataclass(frozen=True, slots=True)
class PlannedSuite:
    """A suite of the recipe with its questions."""

    name: str
    suite: Suite
    config: SuiteConfig
    prompts: tuple[Prompt, ...]
    systems: tuple[str, ...]

    def asked_of(self, system: str) -> tuple[Prompt, ...]:
        """Return the questions that a system is asked."""
        return tuple(prompt for prompt in self.prompts if system not in prompt.left_out)


def draw(ids: Sequence[str], wanted: int | None, *, seed: int, name: str) -> set[str]:
    """Draw ids by seed; which are drawn does not depend on their order."""
    if wanted is None or wanted >= len(ids):
        return set(ids)
    return set(sorted(ids, key=lambda one: sha256_json([seed, name, one]))[:wanted])


def refuse_empty(prompts: Sequence[Prompt], *, on: str, needs: str) -> None:
    """Refuse a suite without questions.

    Raises:
        EvalError: E-EVA-004.
    """
    if not prompts:
        raise EvalError(
            "E-EVA-004",
            f"the set {on!r} holds nothing to ask",
            got="0 questions",
            needs=needs,
            fix="name another set in the suite's `on`",
            field="evaluate.suites",
        )
