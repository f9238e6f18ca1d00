"""What the codes of MON monitor and GOV govern mean; see ``codes_table.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from luthier.foundation.core.explanation import Explanation

if TYPE_CHECKING:
    from luthier.foundation.core.codes import ErrorCode

WATCH_EXPLANATIONS: Final[dict[ErrorCode, Explanation]] = {}
