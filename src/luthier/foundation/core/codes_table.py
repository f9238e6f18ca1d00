"""What each error code means and how it is mended: the text of `luthier explain` and `docs/errors.md`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from luthier.foundation.core.codes import ErrorCode


class Explanation(NamedTuple):
    """One code's page: what happened, why it is refused, what to do."""

    title: str
    why: str
    fix: str


EXPLANATIONS: Final[dict[ErrorCode, Explanation]] = {
    "E-REC-001": Explanation(
        "Unknown recipe key",
        "A key that no section declares would be ignored by a laxer tool, and the run would not be the one you wrote.",
        "Use the nearest name that the message shows, or look at `luthier recipe schema`.",
    ),
    "E-REC-010": Explanation(
        "Not built yet",
        "The name is part of the design, but this version has no such stage, family or plug-in.",
        "Leave it out, or stop before it with `--until STAGE`.",
    ),
    "E-REC-011": Explanation(
        "Unknown plug-in",
        "Names resolve only through the registry, so nothing is imported by accident.",
        "Pick a name from `luthier list FAMILY`.",
    ),
    "E-REC-012": Explanation(
        "Plug-in name clash",
        "Two distributions offer a plug-in of one name; built-ins win no ties, so neither is taken silently.",
        "Uninstall one of the two distributions that the message names.",
    ),
    "E-ENV-001": Explanation(
        "Missing optional packages",
        "The feature needs an extra that is not installed; the core stays small.",
        "Run the install line that the message shows.",
    ),
    "E-ENV-002": Explanation(
        "Variable not set",
        "A path in the recipe names an environment variable that has no value.",
        "Set it, for example `export LUTHIER_DATA=/path/to/data`.",
    ),
    "E-ENV-003": Explanation(
        "Not enough disk",
        "Writes are atomic: when the disk is full nothing is half written and what was there stays.",
        "Free the space that the message names, or run `luthier gc`.",
    ),
    "E-MOD-001": Explanation(
        "Unsafe model folder",
        "Pickles, code files and configurations that name code or kernels run somebody else's program when a model is loaded.",
        "Use a copy of the model with safetensors and plain JSON only.",
    ),
    "E-MOD-002": Explanation(
        "Incomplete or damaged model folder",
        "A file that the model needs is missing, truncated or not what its name says; loading it would fail late or silently be another model.",
        "Copy or pull the model again.",
    ),
    "E-MOD-003": Explanation(
        "GGUF that is not converted",
        "Only plain Llama files with a byte-level BPE vocabulary are converted; guessing at others would give other numbers.",
        "Use a folder with safetensors of the same model.",
    ),
    "E-MOD-004": Explanation(
        "Unknown base",
        "The name is neither in the catalogue nor a folder on this machine.",
        "Run `luthier model list`, or give a path.",
    ),
    "E-MOD-005": Explanation(
        "Pulled base was changed",
        "The cached files differ from the manifest written when they were pulled, so results would not repeat.",
        "Run `luthier model pull NAME`: it brings the base again.",
    ),
    "E-MOD-006": Explanation(
        "Package or weights are not the pinned ones",
        "A catalogue name means one digest everywhere. What came has another.",
        "Check which package index pip is configured for.",
    ),
    "E-MOD-007": Explanation(
        "Licence does not allow the use",
        "The licence table denies the use that the recipe declares in `govern.use`.",
        "Choose another base, or declare the use that is true.",
    ),
    "E-MOD-008": Explanation(
        "Licence unknown",
        "No licence is known for this folder, so the declared use cannot be judged.",
        "State it: `model: {license: Apache-2.0}` or `LicenseRef-own` for your own model.",
    ),
    "E-ENV-004": Explanation(
        "Fetch failed",
        "pip could not bring a package; there may be no network or no pip.",
        "Check pip's configuration, or copy a model folder by hand and name its path.",
    ),
    "E-ENV-005": Explanation(
        "Base not pulled",
        "The recipe names a base of the catalogue that is not in this machine's cache.",
        "Run `luthier model pull NAME` once.",
    ),
    "E-PLN-001": Explanation(
        "Does not fit the memory",
        "The estimate of the peak passes the limit, so the run would be killed somewhere in the middle.",
        "Take the cheapest change that the message names.",
    ),
    "E-PLN-002": Explanation(
        "Rows too long",
        "Rows pass `train.max_length` and the recipe says `too_long: refuse`; nothing is ever cut silently.",
        "Raise `train.max_length`, or say `train.too_long: drop` or `split`.",
    ),
    "E-PLN-003": Explanation(
        "No rows to train on",
        "After the checks no row is left.",
        "Look at `luthier data check FILE`.",
    ),
    "E-PLN-004": Explanation(
        "Length beyond the model's context",
        "`train.max_length` passes the positions that the base was made for.",
        "Set `train.max_length` to the base's limit.",
    ),
    "E-PLN-005": Explanation(
        "Not a memory size",
        "`plan.memory_limit` is `auto` or a number with GiB, MiB, GB or MB.",
        "Write for example `plan: {memory_limit: 8 GiB}`.",
    ),
    "E-LIF-001": Explanation(
        "Stage not built",
        "The lifecycle knows the stage by name, but this version cannot run it.",
        "Stop before it with `--until STAGE`.",
    ),
}
