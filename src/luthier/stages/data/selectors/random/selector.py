"""Order rows by a seeded draw that looks at ids alone, so that the order of rows does not matter."""

from __future__ import annotations

from collections.abc import Sequence

from luthier.foundation.schema.rows import Row
from luthier.stages.data.ranking import Pick, Ranking, draw_order
from luthier.stages.data.selectors.random.config import Config


class RandomSelector:
    """See ``Config``."""

    def rank(self, rows: Sequence[Row], config: Config, *, number: int, seed: int) -> Ranking:  # noqa: ARG002
        """Return the first rows of the draw."""
        return Ranking(tuple(Pick(index, "random") for index in draw_order(rows, seed)[:number]))


PLUGIN = RandomSelector()
