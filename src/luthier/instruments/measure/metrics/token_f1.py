"""Token F1: how many words answer and reference share."""

from __future__ import annotations

import re
import string
from collections import Counter
from typing import Any, Final

from luthier.foundation.schema.plugins import MetricConfig
from luthier.instruments.measure.metric import Item, MeanMetric

ARTICLES: Final = re.compile(r"\b(a|an|the)\b")
PUNCTUATION: Final = str.maketrans("", "", string.punctuation)


class Config(MetricConfig):
    """Mean over answers of the harmonic mean of precision and recall of words.

    Attributes:
        drop_articles: Leave out English articles, as SQuAD does.
    """

    SOURCE = "Rajpurkar et al. 2016, arXiv:1606.05250"

    drop_articles: bool = True


class TokenF1(MeanMetric):
    """Compares bags of words."""

    def score(self, item: Item, config: Any) -> float:  # noqa: ANN401  protocol
        """Return 2 P R / (P + R) over words; two empty texts agree."""
        given = _split_words(item.answer, drop_articles=config.drop_articles)
        expected = _split_words(item.reference.text, drop_articles=config.drop_articles)
        if not given or not expected:
            return float(given == expected)
        shared = sum((Counter(given) & Counter(expected)).values())
        return 2 * shared / (len(given) + len(expected))


def _split_words(text: str, *, drop_articles: bool) -> list[str]:
    plain = text.lower().translate(PUNCTUATION)
    return (ARTICLES.sub(" ", plain) if drop_articles else plain).split()


PLUGIN = TokenF1()
