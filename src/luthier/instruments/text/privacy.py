"""Find personal data and secrets in text by patterns, with checksums wherever a number has one.

Names, addresses and the like need a model and are not found here. Every recogniser is a row of a table in
``privacy_personal`` or ``privacy_secrets``; this file runs them and settles overlaps.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from luthier.instruments.text.privacy_pattern import Finding, Recogniser
from luthier.instruments.text.privacy_personal import PERSONAL
from luthier.instruments.text.privacy_secrets import SECRETS

RECOGNISERS: Final[tuple[Recogniser, ...]] = (*SECRETS, *PERSONAL)
"""In order of precedence: where two findings overlap and are equally long, the earlier kind wins."""

PERSONAL_KINDS: Final[tuple[str, ...]] = tuple(dict.fromkeys(each.kind for each in PERSONAL))
SECRET_KINDS: Final[tuple[str, ...]] = tuple(dict.fromkeys(each.kind for each in SECRETS))
KINDS: Final[tuple[str, ...]] = SECRET_KINDS + PERSONAL_KINDS


def find_private(text: str, kinds: Collection[str] = KINDS) -> tuple[Finding, ...]:
    """Find personal data and secrets.

    Args:
        text: Any text.
        kinds: Which kinds to look for; names from ``KINDS``.

    Returns:
        Findings in order of their start that do not overlap; of overlapping ones the longest.
    """
    lowered = text.lower()
    ranked = [
        (finding.start - finding.end, rank, finding)
        for rank, recogniser in enumerate(RECOGNISERS)
        if recogniser.kind in kinds
        for finding in recogniser.find(text, lowered)
    ]
    taken: list[Finding] = []
    for _, _, finding in sorted(ranked):
        if all(finding.end <= other.start or other.end <= finding.start for other in taken):
            taken.append(finding)
    return tuple(sorted(taken, key=lambda finding: finding.start))


def replace_private(text: str, findings: Collection[Finding], name: Callable[[str, str], str]) -> str:
    """Replace each finding by what ``name`` gives for its kind and value.

    Args:
        text: The text that was searched.
        findings: What ``find_private`` returned for it.
        name: Called with kind and value; returns the replacement.
    """
    pieces: list[str] = []
    position = 0
    for finding in findings:
        pieces += [text[position : finding.start], name(finding.kind, text[finding.start : finding.end])]
        position = finding.end
    return "".join([*pieces, text[position:]])
