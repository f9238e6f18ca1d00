"""Drop training rows that hold what an evaluation set asks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from luthier.foundation.schema.rows import Row
from luthier.stages.data.operators.decontaminate.config import Config
from luthier.stages.data.operators.decontaminate.index import LeakIndex
from luthier.stages.data.outcomes import Dropped, HeldOut, Kept, Outcome


class DecontaminateOperator:
    """See ``Config``."""

    def apply(self, rows: Sequence[Row], config: Config, held_out: HeldOut) -> Iterator[Outcome]:
        """Judge each row against all evaluation sets."""
        index = LeakIndex.build(held_out, config)
        for row in rows:
            leak = index.find_leak(row)
            if leak is None:
                yield Kept(row)
            else:
                name, row_id = leak.place
                yield Dropped(row, (leak.reason,), {"set": name, "row": row_id, "share": leak.share})


PLUGIN = DecontaminateOperator()
