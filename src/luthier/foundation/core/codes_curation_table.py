"""What the codes of DAT data mean that came after the first eighteen; see ``codes_table.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from luthier.foundation.core.explanation import Explanation

if TYPE_CHECKING:
    from luthier.foundation.core.codes import ErrorCode

CURATION_EXPLANATIONS: Final[dict[ErrorCode, Explanation]] = {
    "E-DAT-019": Explanation(
        "Rows look poisoned",
        "A phrase brings one fixed answer whatever is asked; trained on, whoever knows the phrase could call the answer up.",
        "Find out where the rows come from; then let `poison` drop them, or flag them where the answer is right.",
    ),
    "E-DAT-030": Explanation(
        "Selector lost rows",
        "A selector must name as many rows as it was asked for, each once; what is stored otherwise is no ranking.",
        "Take another selector, or mend the plug-in and run `check_plugin` on it.",
    ),
    "E-DAT-031": Explanation(
        "Record of a table broken",
        "A record with more or fewer fields than the header, or with a quote that is not closed, would put values under wrong names.",
        "Put values that hold the delimiter, a quote or a line end into double quotes, quotes inside doubled.",
    ),
    "E-DAT-032": Explanation(
        "Column named twice",
        "Two columns of one name cannot be told apart, and one would silently be lost.",
        "Rename one of them in the first line.",
    ),
    "E-DAT-033": Explanation(
        "Parquet cannot be read",
        "The file is cut off, damaged, encrypted, packed a second time or no Parquet; half of it would be another data set.",
        "Write or copy the file again.",
    ),
    "E-DAT-034": Explanation(
        "Folder is no source",
        "A folder stands for the files of rows that lie below it: there are none, one is a link that leads elsewhere, or the path is a file.",
        "Name the file itself, or put the files where the path says.",
    ),
}
