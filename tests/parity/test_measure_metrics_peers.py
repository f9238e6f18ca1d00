"""Class metrics against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

from luthier.foundation.schema.rows import Message
from luthier.instruments.measure.metric import Item
from luthier.instruments.measure.metrics import accuracy, macro_f1, precision, recall
from luthier.instruments.measure.stats.paired import estimate

pytestmark = pytest.mark.parity
LABELS = ("card arrival", "lost card", "top up", "refund", "exchange rate")


def _items(seed: int) -> tuple[list[str], list[str], list[Item]]:
    rng = np.random.default_rng(seed)
    expected = [LABELS[i] for i in rng.choice(4, 90, p=[0.6, 0.2, 0.15, 0.05])]
    given = [label if rng.random() < 0.6 else [*LABELS, "I cannot say"][rng.integers(6)] for label in expected]
    return (
        expected,
        given,
        [Item(Message(role="assistant", content=e), g) for e, g in zip(expected, given, strict=True)],
    )


@pytest.mark.parametrize("seed", range(3))
def test_accuracy_and_macro_f1_equal_scikit_learn(seed: int) -> None:
    expected, given, items = _items(seed)
    rows = [str(i) for i in range(len(items))]
    ours = estimate(macro_f1.PLUGIN.sample(items, macro_f1.Config()), rows, seed=0, draws=500)
    theirs = f1_score(expected, given, labels=sorted(set(expected)), average="macro", zero_division=0)
    assert ours.value == pytest.approx(theirs, abs=1e-12)
    assert ours.interval.low < ours.value < ours.interval.high
    ours = estimate(accuracy.PLUGIN.sample(items, accuracy.Config()), rows, seed=0)
    assert ours.value == pytest.approx(accuracy_score(expected, given), abs=1e-12)
    assert ours.interval.method == "wilson"


def test_macro_f1_of_a_resample_leaves_out_classes_that_it_lost() -> None:
    _, _, items = _items(0)
    totals = macro_f1.PLUGIN.sample(items, macro_f1.Config()).totals
    kept = [i for i, item in enumerate(items) if item.reference.text != "refund"]
    expected = [items[i].reference.text for i in kept]
    given = [items[i].answer for i in kept]
    theirs = f1_score(expected, given, labels=sorted(set(expected)), average="macro", zero_division=0)
    assert float(macro_f1.macro_f1_of_totals(totals[kept].sum(axis=0))) == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("seed", range(3))
def test_recall_and_precision_of_one_label_equal_scikit_learn(label: str, seed: int) -> None:
    expected, given, items = _items(seed)
    asked = [item for item in items if recall.PLUGIN.counts(item, recall.Config(label=label))]
    if asked:
        ours = estimate(
            recall.PLUGIN.sample(asked, recall.Config(label=label)), [str(i) for i in range(len(asked))], seed=0
        )
        theirs = recall_score(expected, given, labels=[label], average="macro", zero_division=0)
        assert ours.value == pytest.approx(theirs, abs=1e-12)
    totals = precision.PLUGIN.sample(items, precision.Config(label=label)).totals
    theirs = precision_score(expected, given, labels=[label], average="macro", zero_division=0)
    assert float(precision.precision_of_totals(totals.sum(axis=0))) == pytest.approx(theirs, abs=1e-12)


def test_accuracy_without_one_label_is_scikit_learns_on_the_other_rows() -> None:
    expected, given, items = _items(1)
    config = accuracy.Config(except_label="Refund.")
    kept = [place for place, item in enumerate(items) if accuracy.PLUGIN.counts(item, config)]
    assert 0 < len(kept) < len(items)
    assert "refund" not in {expected[place] for place in kept}
    scores = [accuracy.PLUGIN.score(items[place], config) for place in kept]
    theirs = accuracy_score([expected[place] for place in kept], [given[place] for place in kept])
    assert np.mean(scores) == pytest.approx(theirs, abs=1e-12)
