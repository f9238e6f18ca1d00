"""What the codes of MON monitor and GOV govern mean; see ``codes_table.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from luthier.foundation.core.explanation import Explanation

if TYPE_CHECKING:
    from luthier.foundation.core.codes import ErrorCode

WATCH_EXPLANATIONS: Final[dict[ErrorCode, Explanation]] = {
    "E-GOV-001": Explanation(
        "Gate not passed",
        "The report is stored, but a gate of it failed or is not settled by these rows, so nothing is released from it.",
        "Train or measure again, or let someone else override it with a name and a reason.",
    ),
    "E-GOV-002": Explanation(
        "Own work approved",
        "Whoever started a stage of the lineage is an author of it, and an approval is worth what a second person is worth.",
        "Let somebody approve who started none of it.",
    ),
    "E-GOV-003": Explanation(
        "Approval without name or reason",
        "An approval is read later by people who were not there; a name and a reason are all that they have.",
        "Give `--by` and `--reason` as printable text.",
    ),
    "E-GOV-004": Explanation(
        "Not a report",
        "What is approved is a verdict with its numbers, which a report holds; data, plans and runs hold none.",
        "Give the digest of a report; the message lists those that came from what you named.",
    ),
}
