"""Recall and precision of one class, counted by hand; the class is what lies outside all others."""

import numpy as np
import pytest
from pydantic import ValidationError

from luthier.foundation.schema.rows import Message
from luthier.instruments.measure.metric import Item
from luthier.instruments.measure.metrics import accuracy, precision, recall
from luthier.instruments.measure.stats.paired import compare_paired, estimate

RECALL, PRECISION = recall.Config(label="oos"), precision.Config(label="oos")

PAIRS = [
    ("oos", "OOS."),  # found
    ("oos", "oos"),  # found
    ("oos", "timer"),  # missed
    ("oos", ""),  # missed
    ("oos", "oos, I think"),  # missed: it is not the label
    ("timer", "oos"),  # a false alarm
    ("timer", "timer"),
    ("transfer", "timer"),
]


def _items(pairs: list[tuple[str, str]]) -> list[Item]:
    return [Item(Message(role="assistant", content=reference), answer) for reference, answer in pairs]


def _value(metric: precision.LabelPrecision, pairs: list[tuple[str, str]]) -> float:
    sample = metric.sample(_items(pairs), PRECISION)
    return float(sample.statistic(sample.totals.sum(axis=0)))


def test_recall_counts_the_labels_questions_alone() -> None:
    asked = [item for item in _items(PAIRS) if recall.PLUGIN.counts(item, RECALL)]
    assert len(asked) == 5
    found = estimate(recall.PLUGIN.sample(asked, RECALL), [str(i) for i in range(5)], seed=0)
    assert found.value == pytest.approx(2 / 5)
    assert found.interval.method == "wilson"


def test_precision_counts_the_answers_that_name_the_label() -> None:
    assert _value(precision.PLUGIN, PAIRS) == pytest.approx(2 / 3)
    scores = [precision.PLUGIN.score(item, PRECISION) for item in _items(PAIRS)]
    assert scores == [1, 1, 1, 1, 1, 0, 1, 1], "only the false alarm is shown as worst"


def test_precision_of_a_system_that_never_names_the_label_is_zero() -> None:
    assert _value(precision.PLUGIN, PAIRS[2:4]) == 0


def test_precision_gains_by_exactly_the_false_alarms_that_a_system_leaves_out() -> None:
    """40 rows, 20 of them oos, all found; 20 false alarms against none: 20/40 against 20/20."""
    references = ["oos", "timer"] * 20
    loose = [(reference, "oos") for reference in references]
    strict = [(reference, reference) for reference in references]
    first, second = (precision.PLUGIN.sample(_items(pairs), PRECISION) for pairs in (loose, strict))
    paired = compare_paired(first, second, [str(row) for row in range(40)], seed=0, draws=500)
    assert paired.value == pytest.approx(0.5)
    assert paired.flip.p_greater < 0.001


def test_which_questions_count_depends_on_the_reference_alone() -> None:
    for metric, config in ((recall, RECALL), (precision, PRECISION), (accuracy, accuracy.Config(except_label="oos"))):
        counted = [
            metric.PLUGIN.counts(item, config) for item in _items([(reference, "oos") for reference, _ in PAIRS])
        ]
        assert counted == [metric.PLUGIN.counts(item, config) for item in _items(PAIRS)]


def test_accuracy_may_leave_out_one_class() -> None:
    config = accuracy.Config(except_label="oos")
    asked = [item for item in _items(PAIRS) if accuracy.PLUGIN.counts(item, config)]
    assert np.mean([accuracy.PLUGIN.score(item, config) for item in asked]) == pytest.approx(1 / 3)
    assert all(accuracy.PLUGIN.counts(item, accuracy.Config()) for item in _items(PAIRS))


@pytest.mark.parametrize("config", [recall.Config, precision.Config])
def test_a_label_is_asked_for(config: type[recall.Config | precision.Config]) -> None:
    with pytest.raises(ValidationError):
        config()
    with pytest.raises(ValidationError):
        config(label="")
