"""Judge whether a licence allows a declared use. Not legal advice; every verdict names its source and date."""

from __future__ import annotations

from luthier.foundation.schema.model import LicenceVerdict
from luthier.instruments.govern.licences_table import LICENCE_RULES


def judge_licence(licence: str, *, use: str) -> LicenceVerdict:
    """Decide by the table whether a use is allowed.

    Args:
        licence: SPDX identifier, in any case; empty where none is known.
        use: ``commercial``, ``research`` or ``personal``.

    Returns:
        ``allowed`` or ``denied`` where the table knows the licence, else ``unknown``.
    """
    by_lower = {name.lower(): name for name in LICENCE_RULES}
    name = by_lower.get(licence.lower())
    if name is None:
        shown = licence or "none stated"
        return LicenceVerdict(
            licence=licence,
            verdict="unknown",
            reason=f"the licence ({shown}) is not in the table; state `model.license`",
        )
    rule = LICENCE_RULES[name]
    return LicenceVerdict(
        licence=name,
        verdict="allowed" if use in rule.uses else "denied",
        reason=f"{use} use: {rule.condition}",
        source=rule.source,
        checked_on=rule.checked_on,
    )
