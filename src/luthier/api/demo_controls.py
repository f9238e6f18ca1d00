"""Honesty controls: the demo's own recipe where nothing can be learnt, and with rows picked by chance.

Each is the same corridor with one thing changed, ended at evaluate. What must not pass and does shows that the gate,
not the model, is at fault.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from luthier.foundation.core.files import write_atomic
from luthier.foundation.core.seeds import derive_seed

if TYPE_CHECKING:
    from luthier.lifecycle.result import CorridorResult

SHUFFLED_NAME: Final = "train_shuffled.jsonl"
NOTHING_LEARNT: Final = ("train.max_steps=1", "train.learning_rate=1e-12", "train.warmup_ratio=0")

RunChanged = Callable[[tuple[str, ...]], "CorridorResult"]
"""Runs the demo's recipe to evaluate with overrides."""


@dataclass(frozen=True)
class Control:
    """One control as it went.

    Attributes:
        name: ``shuffled_answers``, ``base_against_itself`` or ``random_selection``.
        what: What was changed, for people.
        must_pass: False where passing the gate would show a broken gate; None where the figure alone is of interest.
        result: The corridor's, ended at evaluate.
    """

    name: str
    what: str
    must_pass: bool | None
    result: CorridorResult

    @property
    def holds(self) -> bool:
        """Whether it came out as it must."""
        return self.must_pass is None or (self.result.verdict == "PASS") == self.must_pass

    def to_json(self) -> dict[str, Any]:
        """Return verdict and gain."""
        report = self.result.report
        gain = next((one for one in report.identity.differences if one.first == "base"), None) if report else None
        tuned = [one for one in report.identity.metrics if one.system == "tuned"] if report else []
        return {
            "what": self.what,
            "verdict": self.result.verdict,
            "holds": self.holds,
            "tuned": tuned[0].value if tuned else None,
            "difference": gain.value if gain else None,
            "interval": list(gain.interval) if gain else None,
        }


def run_controls(train: Path, *, num_examples: int, seed: int, run: RunChanged) -> tuple[Control, ...]:
    """Run all controls, each cached like any other run.

    Args:
        train: The demo's training rows; the shuffled ones are written beside them.
        num_examples: Rows that the demo trained on.
        seed: Of the shuffle.
        run: Runs the demo's recipe with overrides.
    """
    shuffled = train.parent / SHUFFLED_NAME
    write_atomic(shuffled, shuffle_answers(train.read_text(encoding="utf-8"), seed=seed).encode())
    source = f"data.sources=[{{path: {shuffled.name}, license: Apache-2.0, basis: made up by Luthier}}]"
    return (
        Control("shuffled_answers", "the same rows, answers exchanged between rows", False, run((source,))),
        Control("base_against_itself", "one step that moves nothing", False, run(NOTHING_LEARNT)),
        Control(
            "random_selection",
            f"{num_examples:,} rows picked by chance, not by the selector",
            None,
            run(("data.select={type: random}", f"plan.num_examples={num_examples}")),
        ),
    )


def shuffle_answers(lines: str, *, seed: int) -> str:
    """Exchange the last messages between rows; everything else of a row stays."""
    rows = [json.loads(line) for line in lines.splitlines()]
    answers = [row["messages"][-1] for row in rows]
    random.Random(derive_seed(seed, "demo", "shuffle")).shuffle(answers)  # noqa: S311  drawn data, no secrets
    for row, answer in zip(rows, answers, strict=True):
        row["messages"][-1] = answer
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
