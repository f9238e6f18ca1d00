"""The conformance suite itself: each rule is seen catching what it is for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
from pydantic import ConfigDict

from luthier.foundation.schema.plugins import MethodConfig, MetricConfig, OperatorConfig
from luthier.foundation.schema.rows import Message, Row
from luthier.instruments.measure.metric import Item, MeanMetric, Metric
from luthier.instruments.measure.stats.paired import Sample
from luthier.stages.data.outcomes import Changed, Dropped, Flagged, Kept, Operator, Outcome
from luthier.testing.conformance import NotConformantError, check_plugin, find_config_faults, find_heavy_imports
from luthier.testing.metrics import find_metric_faults
from luthier.testing.operators import find_operator_faults
from luthier.testing.shapes import find_shape_faults


class Config(OperatorConfig):
    """Let every row through."""


def test_a_plugin_of_ours_passes_and_a_wrong_one_shows_every_fault() -> None:
    check_plugin("operators", "empty")

    error = NotConformantError("operators x", ["first", "second"])
    assert isinstance(error, AssertionError)
    assert "first" in str(error)
    assert "second" in str(error)


class Thawed(OperatorConfig):
    """Be changed by anyone."""

    model_config = ConfigDict(frozen=False, extra="forbid")


class Lax(OperatorConfig):
    """Take options that it does not know."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Unversioned(OperatorConfig):
    """Have no version."""

    VERSION: ClassVar[int] = 0


class Unsourced(OperatorConfig):
    """Come from nowhere."""

    SOURCE: ClassVar[str] = " "


class Unnamed(OperatorConfig):
    pass


class Unschemed(OperatorConfig):
    """Hold a function as default."""

    function: Callable[[], None] = print


class Wordy(OperatorConfig):
    __doc__ = "Say " + "very " * 40 + "much."


class OfAnotherFamily(MethodConfig):
    """Be a method."""


CONFIGS = {
    "frozen": Thawed,
    "extra='forbid'": Lax,
    "VERSION": Unversioned,
    "SOURCE": Unsourced,
    "docstring": Unnamed,
    "JSON Schema": Unschemed,
    "120 fit": Wordy,
    "derive from OperatorConfig": OfAnotherFamily,
}


@pytest.mark.parametrize("word", CONFIGS)
def test_a_config_half_with_one_fault_is_told_that_fault_alone(word: str) -> None:
    (fault,) = find_config_faults("operators", CONFIGS[word])

    assert word in fault


def test_a_config_half_without_fault_is_told_none() -> None:
    assert list(find_config_faults("operators", Config)) == []


def test_a_heavy_import_is_found_in_a_fresh_process_though_it_is_loaded_here() -> None:
    assert find_heavy_imports([("operators", "unicode"), ("methods", "lora")]) == {
        "operators.unicode": [],
        "methods.lora": [],
    }


class Keep:
    """The operator that does nothing; those below each do one thing wrong."""

    def apply(self, rows: Sequence[Row], config: Any, held_out: Any) -> Iterator[Outcome]:
        return (Kept(row) for row in rows)


class Forgets(Keep):
    def apply(self, rows: Sequence[Row], config: Any, held_out: Any) -> Iterator[Outcome]:
        return (Kept(row) for row in rows[1:])


class Reverses(Keep):
    def apply(self, rows: Sequence[Row], config: Any, held_out: Any) -> Iterator[Outcome]:
        return (Kept(row) for row in reversed(rows))


class ChangesInSilence(Keep):
    def apply(self, rows: Sequence[Row], config: Any, held_out: Any) -> Iterator[Outcome]:
        return (Kept(row.model_copy(update={"text": "other"})) for row in rows)


class DropsWithoutReason(Keep):
    def apply(self, rows: Sequence[Row], config: Any, held_out: Any) -> Iterator[Outcome]:
        return (Dropped(row, ()) for row in rows)


class FlagsAndChanges(Keep):
    def apply(self, rows: Sequence[Row], config: Any, held_out: Any) -> Iterator[Outcome]:
        return (Flagged(row.model_copy(update={"text": "other"}), ("odd",)) for row in rows)


class ClaimsAChange(Keep):
    def apply(self, rows: Sequence[Row], config: Any, held_out: Any) -> Iterator[Outcome]:
        return (Changed(row, row, ("tidied",)) for row in rows)


class NeverDone(Keep):
    def apply(self, rows: Sequence[Row], config: Any, held_out: Any) -> Iterator[Outcome]:
        return (Changed(row.model_copy(update={"text": row.text + "!"}), row, ("louder",)) for row in rows)


class Invents(Keep):
    def apply(self, rows: Sequence[Row], config: Any, held_out: Any) -> Iterator[Outcome]:
        return (Kept(row) for row in rows or (Row(id="new"),))


@dataclasses.dataclass
class Draws(Keep):
    calls: int = 0

    def apply(self, rows: Sequence[Row], config: Any, held_out: Any) -> Iterator[Outcome]:
        self.calls += 1
        return (Flagged(row, (f"pass {self.calls}",)) for row in rows)


class WritesIntoRows(Keep):
    def apply(self, rows: Sequence[Row], config: Any, held_out: Any) -> Iterator[Outcome]:
        for row in rows:
            row.fields["seen"] = True
        return (Kept(row) for row in rows)


OPERATORS = {
    "outcomes for": Forgets,
    "in their order": Reverses,
    "called Kept but was changed": ChangesInSilence,
    "without a reason": DropsWithoutReason,
    "called Flagged but was changed": FlagsAndChanges,
    "called Changed, but before": ClaimsAChange,
    "not idempotent": NeverDone,
    "rows that are not there": Invents,
    "two passes": Draws,
    "changes the rows that it is given": WritesIntoRows,
}


@pytest.mark.parametrize("word", OPERATORS)
def test_an_operator_with_a_fault_is_told_it(word: str) -> None:
    assert any(word in fault for fault in find_operator_faults(OPERATORS[word](), Config))


def test_an_operator_without_fault_is_told_none() -> None:
    assert list(find_operator_faults(Keep(), Config)) == []
    assert list(find_shape_faults(Keep(), Operator)) == []


def test_an_operator_with_required_options_is_left_to_its_own_tests() -> None:
    class Needs(OperatorConfig):
        """Need an option."""

        column: str

    assert list(find_operator_faults(Forgets(), Needs)) == []
    assert list(find_config_faults("operators", Needs)) == []


class Share(MeanMetric):
    """The metric without fault; those below each do one thing wrong."""

    def score(self, item: Item, config: Any) -> float:
        return float(item.answer == item.reference.text)


class Backwards(Share):
    higher_is_better = False


class CountsByAnswer(Share):
    def counts(self, item: Item, config: Any) -> bool:
        return item.answer != "no: {"


class SeesNothing(Share):
    def score(self, item: Item, config: Any) -> float:
        return 1.0


class FirstAnswerOnly(Share):
    def sample(self, items: Sequence[Item], config: Any) -> Sample:
        first = float(items[0].answer == "refund") + 0.1 * len(items[-1].answer)
        return Sample(np.array([[first, 1.0]] + [[0.0, 1.0]] * (len(items) - 1)))


class OneTotal(Share):
    def sample(self, items: Sequence[Item], config: Any) -> Sample:
        totals = super().sample(items, config).totals
        return Sample(totals.sum(axis=0, keepdims=True))


class Breaks(Share):
    def score(self, item: Item, config: Any) -> float:
        return float(item.answer == item.reference.text) * (item.answer[0] != "")


class NotANumber(Share):
    def score(self, item: Item, config: Any) -> float:
        return float("nan") if item.answer == "NaN" else super().score(item, config)


METRICS = {
    "a wrong answer scores better": Backwards,
    "depends on the answer": CountsByAnswer,
    "not better than wrong ones": SeesNothing,
    "order of rows": FirstAnswerOnly,
    "one line of totals a row": OneTotal,
    "breaks it: IndexError": Breaks,
    "not a number": NotANumber,
}


class MetricOptions(MetricConfig):
    """Have no options."""


@pytest.mark.parametrize("word", METRICS)
def test_a_metric_with_a_fault_is_told_it(word: str) -> None:
    assert any(word in fault for fault in find_metric_faults(METRICS[word](), MetricOptions))


def test_a_metric_without_fault_is_told_none() -> None:
    assert list(find_metric_faults(Share(), MetricOptions)) == []
    assert list(find_shape_faults(Share(), Metric)) == []


class NoApply:
    """Has no method."""


class OtherNames:
    """Takes other parameters."""

    def apply(self, examples: Sequence[Row], config: Any, held_out: Any) -> Iterator[Outcome]:
        return iter(())


def test_a_runtime_half_of_another_shape_is_told_what_it_lacks() -> None:
    assert list(find_shape_faults(NoApply(), Operator)) == ["PLUGIN lacks the method apply"]
    assert list(find_shape_faults(OtherNames(), Operator)) == [
        "PLUGIN.apply does not take rows",
        "PLUGIN.apply demands examples, which nobody gives it",
    ]
    assert list(find_shape_faults(Keep, Operator)) == ["PLUGIN must be an object, not a class"]
    assert list(find_shape_faults(object(), None)) == []


def test_messages_are_frozen_so_that_operators_cannot_write_into_them() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Message(role="user", content="a").content = "b"
