"""What the licences of known base models allow, as of when, according to which text."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Use = Literal["commercial", "research", "personal"]


class LicenceRule(NamedTuple):
    """One licence: the uses it allows, what it asks for, where that is written, when it was read."""

    uses: frozenset[str]
    condition: str
    source: str
    checked_on: str


ANY_USE: Final = frozenset({"commercial", "research", "personal"})
NOT_COMMERCIAL: Final = frozenset({"research", "personal"})

LICENCE_RULES: Final[dict[str, LicenceRule]] = {
    "Apache-2.0": LicenceRule(
        ANY_USE, "keep the notice and state changes", "Apache License 2.0, section 4", "2026-11-24"
    ),
    "MIT": LicenceRule(ANY_USE, "keep the notice", "MIT License", "2026-11-24"),
    "BSD-3-Clause": LicenceRule(ANY_USE, "keep the notice", "BSD 3-Clause License", "2026-11-24"),
    "CC-BY-4.0": LicenceRule(ANY_USE, "attribute", "CC BY 4.0, section 3(a)", "2026-11-24"),
    "CC-BY-SA-4.0": LicenceRule(
        ANY_USE, "attribute; pass adaptations on under the same licence", "CC BY-SA 4.0, section 3", "2026-11-24"
    ),
    "CC-BY-NC-4.0": LicenceRule(
        NOT_COMMERCIAL, "attribute; no commercial use", "CC BY-NC 4.0, section 2(a)", "2026-11-24"
    ),
    "CC-BY-NC-SA-4.0": LicenceRule(
        NOT_COMMERCIAL, "attribute; no commercial use; share alike", "CC BY-NC-SA 4.0, section 2(a)", "2026-11-24"
    ),
    "LicenseRef-research-only": LicenceRule(NOT_COMMERCIAL, "research only", "declared by the user", "2026-11-24"),
    "LicenseRef-own": LicenceRule(ANY_USE, "the user's own model", "declared by the user", "2026-11-24"),
}
