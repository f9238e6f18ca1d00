"""What plugs in, and what error codes mean."""

from __future__ import annotations

import difflib
import inspect
from typing import Any, cast, get_args

from luthier.foundation import registry
from luthier.foundation.core.codes import ErrorCode
from luthier.foundation.core.codes_table import EXPLANATIONS
from luthier.foundation.core.errors import RecipeError


def list_families() -> list[str]:
    """Return the families' names."""
    return list(registry.iterate_families())


def list_plugins(family: str) -> list[dict[str, Any]]:
    """Describe a family's plug-ins; a third party's are named without being loaded.

    Raises:
        RecipeError: E-REC-011 for a family that does not exist.
    """
    return [_describe(family, name, row) for name, row in registry.get_rows(family).items()]


def _describe(family: str, name: str, row: registry.Row) -> dict[str, Any]:
    is_ours = row.distribution == "luthier"
    config = registry.load_config(family, name) if is_ours else None
    return {
        "name": name,
        "summary": (inspect.getdoc(config) or "").partition("\n")[0] if config is not None else "",
        "maturity": row.maturity,
        "source": row.source,
        "extra": row.extra,
        "distribution": row.distribution,
        "options": list(config.model_fields) if config is not None else [],
    }


def explain(code: str) -> dict[str, str]:
    """Return what a code means, why it is refused and what to do.

    Raises:
        RecipeError: E-REC-014 for a code that does not exist.
    """
    wanted = code.strip().upper()
    page = EXPLANATIONS.get(cast("ErrorCode", wanted))
    if page is None:
        known = get_args(ErrorCode)
        nearest = difflib.get_close_matches(wanted, known, n=1, cutoff=0.5)
        raise RecipeError(
            "E-REC-014",
            f"there is no error code {code!r}" + (f"; nearest is {nearest[0]}" if nearest else ""),
            got=code,
            allowed="a code such as E-REC-001, as messages show it",
            fix=f"luthier explain {nearest[0] if nearest else 'E-REC-001'}",
        )
    return {"code": wanted, "title": page.title, "why": page.why, "fix": page.fix}
