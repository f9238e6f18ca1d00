"""What the codes of DAT data mean that came after the first eighteen; see ``codes_table.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from luthier.foundation.core.explanation import Explanation

if TYPE_CHECKING:
    from luthier.foundation.core.codes import ErrorCode

CURATION_EXPLANATIONS: Final[dict[ErrorCode, Explanation]] = {
    "E-DAT-030": Explanation(
        "Selector lost rows",
        "A selector must name as many rows as it was asked for, each once; what is stored otherwise is no ranking.",
        "Take another selector, or mend the plug-in and run `check_plugin` on it.",
    ),
}
