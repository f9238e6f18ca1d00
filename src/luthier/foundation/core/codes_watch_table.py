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
    "E-GOV-005": Explanation(
        "Key cannot be used",
        "Signatures are Ed25519; the key is a PEM file without a password, named by LUTHIER_SIGNING_KEY or as public key.",
        "Make one with `openssl genpkey -algorithm ed25519 -out key.pem`, its public half with `openssl pkey -pubout`.",
    ),
    "E-GOV-006": Explanation(
        "Signature does not fit",
        "The files, the signature and the key must fit each other; one of them is not the one that was there when it was signed.",
        "Make the release again, or get it from whoever signed it.",
    ),
    "E-GOV-007": Explanation(
        "Audit log changed",
        "Every entry carries the hash of the one before; from the entry that the message names on, this is not the log that was written.",
        "Compare with a backup or with the audit head that a release keeps in its witness.json.",
    ),
    "E-MON-001": Explanation(
        "Traffic not understood",
        "A line that cannot be read may be the one that would have shown the drift, so none is skipped.",
        "Mend the line that the message names: one JSON object a line, with `time` and, where it is kept, `text`.",
    ),
    "E-MON-002": Explanation(
        "Row without a time",
        "Drift is a change in time: a row whose time is missing or cannot be read belongs to no day.",
        "Write `time` in ISO 8601, such as `2026-03-02T09:30:00Z`.",
    ),
    "E-MON-003": Explanation(
        "Times with and without an offset",
        "A time without an offset may be anybody's local time; beside times with one its day would be a guess.",
        "Write every time with `Z` or `+hh:mm`.",
    ),
    "E-MON-004": Explanation(
        "Not a number",
        "A log-probability or confidence that is no finite number is a defect of what wrote it, not a value to rank.",
        "Mend what writes the column; `null` says that a row has no value.",
    ),
    "E-MON-005": Explanation(
        "No rows",
        "Nothing can be said of a file or folder without rows, and silence would look like all being well.",
        "Give a file of JSON lines, or a folder of `.jsonl` files, that has some.",
    ),
    "E-MON-006": Explanation(
        "Times too far apart",
        "One row with a broken clock would stretch the watch over thousands of empty days.",
        "Mend or leave out the first or the last row, which the message names.",
    ),
    "E-MON-007": Explanation(
        "Reference unreadable",
        "What traffic is compared with is damaged, missing, or written by another version.",
        "Verify the release, or compare with rows: `luthier monitor drift --reference FILE --traffic FILE`.",
    ),
    "E-MON-008": Explanation(
        "No input embeddings",
        "Topics are compared by the base's own input embeddings, which this folder does not hold in a form that is read.",
        "Name another base with `--base`: a model folder with safetensors.",
    ),
    "E-MON-009": Explanation(
        "Nothing to watch",
        "Below fifty rows, or without a text or a number that varies, chance alone looks like drift.",
        "Give a reference with more rows.",
    ),
    "E-MON-010": Explanation(
        "Two references, or none",
        "Traffic is compared with one thing: a release's own reference, or a file of rows from before.",
        "Give RELEASE or `--reference FILE`.",
    ),
    "E-MON-011": Explanation(
        "Another base than the reference's",
        "Embeddings of two bases cannot be compared: every text would look as if it had moved.",
        "Name the release's own base with `--base`, or leave `--base` away.",
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
