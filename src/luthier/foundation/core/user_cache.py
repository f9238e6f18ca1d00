"""Where files of the user lie that every workspace shares: pulled models, compiled kernels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def find_user_cache(environment: Mapping[str, str]) -> Path:
    """Return the folder ``${LUTHIER_CACHE:-${XDG_CACHE_HOME:-~/.cache}/luthier}``; it need not exist.

    Args:
        environment: Variables to look at.
    """
    if environment.get("LUTHIER_CACHE"):
        return Path(environment["LUTHIER_CACHE"]).expanduser()
    base = environment.get("XDG_CACHE_HOME") or str(Path(environment.get("HOME") or "~").expanduser() / ".cache")
    return Path(base) / "luthier"
