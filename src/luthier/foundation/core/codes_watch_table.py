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
    "E-MON-020": Explanation(
        "Feedback not understood",
        "Feedback becomes training rows, so what is unclear, contradictory or boundless is refused and not guessed.",
        "Send the fields that the message allows: a rating, or a correction, or a preferred answer.",
    ),
    "E-MON-021": Explanation(
        "Unknown response",
        "Feedback names the answer that it is about by its id, so that it can be traced to the release that gave it.",
        "Send the `id` of the completion; the traffic log forgets the oldest ones when it is full.",
    ),
    "E-MON-022": Explanation(
        "Content not kept",
        "What was said is kept only where it was asked for, and a correction without its conversation teaches nothing.",
        "Send the conversation along as `messages`, or serve with `--keep-content`.",
    ),
    "E-MON-023": Explanation(
        "Unknown feedback",
        "No feedback of this workspace has the id; nothing was reviewed.",
        "Copy ids from `luthier feedback list`.",
    ),
    "E-MON-024": Explanation(
        "Review without a decision",
        "A review is kept with the name of who made it; it accepts or it rejects.",
        "Give `--accept` or `--reject` with ids, and `--by NAME`.",
    ),
    "E-MON-025": Explanation(
        "Nothing to learn from",
        "The next run would learn what the last one did: no accepted feedback fits the release's objective.",
        "Review feedback with `luthier feedback review`; sft learns from corrections, dpo from preferences.",
    ),
    "E-MON-026": Explanation(
        "Release cannot be retuned",
        "The next recipe is made from the release's own, with the same sources byte for byte.",
        "Put the file that the message names back, or write a recipe by hand.",
    ),
}
