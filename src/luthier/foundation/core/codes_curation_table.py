"""What the codes of DAT data mean that came after the first eighteen; see ``codes_table.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from luthier.foundation.core.explanation import Explanation

if TYPE_CHECKING:
    from luthier.foundation.core.codes import ErrorCode

CURATION_EXPLANATIONS: Final[dict[ErrorCode, Explanation]] = {}
