"""Find personal data and secrets in text by patterns, with checksums wherever a number has one.

Names, addresses and the like need a model and are not found here. Every recogniser is a row of a table in
``privacy_personal`` or ``privacy_secrets``; this file runs them and settles overlaps.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from functools import lru_cache
from typing import Final

from luthier.instruments.text.privacy_pattern import Finding, Hints, Recogniser
from luthier.instruments.text.privacy_personal import PERSONAL
from luthier.instruments.text.privacy_secrets import SECRETS

RECOGNISERS: Final[tuple[Recogniser, ...]] = (*SECRETS, *PERSONAL)
"""In order of precedence: where two findings overlap and are equally long, the earlier kind wins."""

PERSONAL_KINDS: Final[tuple[str, ...]] = tuple(dict.fromkeys(each.kind for each in PERSONAL))
SECRET_KINDS: Final[tuple[str, ...]] = tuple(dict.fromkeys(each.kind for each in SECRETS))
KINDS: Final[tuple[str, ...]] = SECRET_KINDS + PERSONAL_KINDS


_MAYBE: Final = re.compile(
    r"\d|@|://|[\w-]{20}|private key|passw|pwd|passphrase|passcode|secret|token|credential|key", re.IGNORECASE
)
"""Every finding holds one of these, so a text without them needs no recogniser."""


def find_private(text: str, kinds: Collection[str] = KINDS) -> tuple[Finding, ...]:
    """Find personal data and secrets.

    Args:
        text: Any text.
        kinds: Which kinds to look for; names from ``KINDS``.

    Returns:
        Findings in order of their start that do not overlap; of overlapping ones the longest.
    """
    if _MAYBE.search(text) is None:
        return ()
    return _find(text, tuple(kinds))


@lru_cache(maxsize=512)
def _find(text: str, kinds: tuple[str, ...]) -> tuple[Finding, ...]:
    """Do the search; remembered for a while, since system prompts come back row after row."""
    hints = Hints(text)
    ranked = [
        (finding.start - finding.end, rank, finding)
        for rank, recogniser in enumerate(RECOGNISERS)
        if recogniser.kind in kinds and hints.allow(recogniser)
        for finding in recogniser.find(text)
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
