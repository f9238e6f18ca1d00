"""Keep one row of each cluster of exact duplicates, the best by a rule that does not look at the order of rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from luthier.foundation.schema.rows import Row
from luthier.stages.data.operators.dedupe.config import Config
from luthier.stages.data.outcomes import Dropped, HeldOut, Kept, Outcome
from luthier.stages.data.texts import content_key, rank_row


class DedupeOperator:
    """See ``Config``. The best row has most further columns, then the least stray space, then the least digest."""

    def apply(self, rows: Sequence[Row], config: Config, held_out: HeldOut) -> Iterator[Outcome]:  # noqa: ARG002
        """Yield each cluster's best row as kept, the others as dropped in its favour."""
        keys = [content_key(row, exact=config.match == "exact") for row in rows]
        clusters: defaultdict[str, list[int]] = defaultdict(list)
        for index, key in enumerate(keys):
            clusters[key].append(index)
        best = {
            key: members[0] if len(members) == 1 else min(members, key=lambda index: rank_row(rows[index]))
            for key, members in clusters.items()
        }
        for index, (row, key) in enumerate(zip(rows, keys, strict=True)):
            if best[key] == index:
                yield Kept(row)
            else:
                kept = rows[best[key]]
                yield Dropped(
                    row, ("duplicate",), {"kept": kept.id, "kept_at": str(kept.origin), "cluster": len(clusters[key])}
                )


PLUGIN = DedupeOperator()
