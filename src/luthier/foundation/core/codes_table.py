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
    "E-LIF-001": Explanation(
        "Stage not built",
        "The lifecycle knows the stage by name, but this version cannot run it.",
        "Stop before it with `--until STAGE`.",
    ),
}
