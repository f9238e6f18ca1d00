"""Macro F1: the mean over classes of F1, so that rare classes count as much as common ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from luthier.foundation.schema.plugins import MetricConfig
from luthier.instruments.measure.labels import normalise_label
from luthier.instruments.measure.metric import Item
from luthier.instruments.measure.stats.intervals import Floats
from luthier.instruments.measure.stats.paired import Sample


class Config(MetricConfig):
    """Mean F1 over the classes of the references; an answer that is no class is a miss of its reference's."""

    SOURCE = "van Rijsbergen 1979; macro average as in scikit-learn's f1_score"


class MacroF1:
    """Counts hits, references and answers by class."""

    higher_is_better = True

    def counts(self, item: Item, config: Any) -> bool:  # noqa: ANN401, ARG002  protocol
        """Count every question."""
        return True

    def score(self, item: Item, config: Any) -> float:  # noqa: ANN401, ARG002  protocol
        """Return 1 where the labels are equal, else 0."""
        return float(normalise_label(item.answer) == normalise_label(item.reference.text))

    def sample(self, items: Sequence[Item], config: Any) -> Sample:  # noqa: ANN401, ARG002  protocol
        """Return each row's counts by class: hits, references, answers.

        Shapes:
            N rows, C classes of the references; totals are (N, 3 C).
        """
        expected = [normalise_label(item.reference.text) for item in items]
        place = {label: index for index, label in enumerate(sorted(set(expected)))}
        totals = np.zeros((len(items), 3 * len(place)))
        for row, (item, label) in enumerate(zip(items, expected, strict=True)):
            given = place.get(normalise_label(item.answer))
            totals[row, len(place) + place[label]] = 1
            if given is not None:
                totals[row, 2 * len(place) + given] = 1
                totals[row, given] = float(given == place[label])
        return Sample(totals, macro_f1_of_totals, is_mean=False)


def macro_f1_of_totals(totals: Floats) -> Floats:
    """Return 2 hits / (references + answers), averaged over the classes that have references.

    A resample may hold no reference of a class; the class is then left out rather than counted as a failure.
    """
    hits, references, answers = np.split(totals, 3, axis=-1)
    f1 = 2 * hits / np.maximum(references + answers, 1)
    is_present = references > 0
    return np.asarray((f1 * is_present).sum(axis=-1) / np.maximum(is_present.sum(axis=-1), 1))


PLUGIN = MacroF1()
