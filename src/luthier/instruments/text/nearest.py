"""Which of many texts is nearest to another by its letters: TF-IDF over character n-grams, no model and no tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

SIZES: Final = (3, 4, 5)
"""Lengths of the n-grams: word stems and endings, whatever the language."""


def find_nearest(queries: Sequence[str], texts: Sequence[str]) -> NDArray[np.int64]:
    """Return for each query the place of the text nearest by cosine; of equal ones the first.

    Case and runs of white space do not count. Grams of the queries that no text has weigh nothing.

    Args:
        queries: What is looked for.
        texts: Where; at least one.

    Shapes:
        One place a query.

    Source:
        TF-IDF with smoothed inverse document frequency, ``ln((1 + n) / (1 + df)) + 1``, and cosine: Manning, Raghavan
        and Schuetze 2008, Introduction to Information Retrieval, chapter 6; the smoothing as scikit-learn has it.
    """
    counts = [_count_grams(text) for text in texts]
    number = {gram: place for place, gram in enumerate(sorted(set().union(*counts)))}
    known = _to_matrix(counts, number)
    document_frequency = np.bincount(known.indices, minlength=len(number))
    weights = np.log((1 + len(texts)) / (1 + document_frequency)) + 1
    asked = _to_matrix([_count_grams(query) for query in queries], number)
    likeness = _normalise(asked.multiply(weights)) @ _normalise(known.multiply(weights)).T
    return np.asarray(likeness.toarray().argmax(axis=1), dtype=np.int64)


def _count_grams(text: str) -> Counter[str]:
    plain = f" {' '.join(text.casefold().split())} "
    return Counter(plain[start : start + size] for size in SIZES for start in range(len(plain) - size + 1))


def _to_matrix(counts: Sequence[Counter[str]], number: dict[str, int]) -> sparse.csr_array:
    rows, columns, values = [], [], []
    for row, grams in enumerate(counts):
        for gram, count in grams.items():
            if gram in number:
                rows.append(row)
                columns.append(number[gram])
                values.append(float(count))
    return sparse.csr_array((values, (rows, columns)), shape=(len(counts), len(number)))


def _normalise(matrix: sparse.csr_array) -> sparse.csr_array:
    lengths = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    return sparse.csr_array(matrix.multiply(1.0 / np.where(lengths > 0, lengths, 1.0)[:, None]))
