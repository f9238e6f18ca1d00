"""Stage 2 alone: which bases are known and here, pull one, judge a folder."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luthier.foundation.core.progress import Progress, SilentProgress


def list_models(*, environment: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Describe every base of the catalogue, and where it lies if it was pulled.

    Args:
        environment: Variables that name the cache; the process's own by default.
    """
    from luthier.stages.model.catalogue import CATALOGUE

    return [show_model(name, environment=environment) for name in CATALOGUE]


def show_model(name: str, *, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return what is known about a base.

    Args:
        name: A catalogue name.
        environment: Variables that name the cache; the process's own by default.

    Raises:
        ModelError: E-MOD-004 for an unknown name.
    """
    from luthier.stages.model.pull import ORIGIN_NAME, find_cache, find_pulled, get_entry

    entry = get_entry(name)
    folder = find_pulled(name, cache=find_cache(os.environ if environment is None else environment))
    shown: dict[str, Any] = {**entry.model_dump(mode="json"), "is_here": folder is not None, "path": None, "bytes": 0}
    if folder is not None:
        origin = folder / ORIGIN_NAME
        shown |= {
            "path": str(folder),
            "bytes": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
            "pulled_from": json.loads(origin.read_text(encoding="utf-8")) if origin.is_file() else None,
        }
    return shown


def pull_model(
    name: str, *, progress: Progress | None = None, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Bring a base by name into the user's cache, verified; a second call only verifies.

    Args:
        name: A catalogue name.
        progress: Told about the download and the conversion.
        environment: Variables that name the cache; the process's own by default.

    Raises:
        ModelError: E-MOD-004 for an unknown name, E-MOD-006 when what came is not what was pinned.
        EnvironmentLacks: E-ENV-004 without network or pip.
        StoreError: E-ENV-003 without enough disk.
    """
    from luthier.stages.model.pull import find_cache, pull

    cache = find_cache(os.environ if environment is None else environment)
    folder = pull(name, cache=cache, progress=progress or SilentProgress())
    return {"name": name, "path": str(folder), "digest": folder.name.rpartition("@")[2]}


def check_model(base: str, *, use: str = "commercial", license: str | None = None) -> dict[str, Any]:
    """Say what a model folder is, whether it is safe to load and whether it may be used.

    Args:
        base: A catalogue name that was pulled, or a folder.
        use: Declared use: ``commercial``, ``research`` or ``personal``.
        license: SPDX identifier of a folder's licence.

    Raises:
        ModelError: When the folder is unsafe, incomplete or unknown.
        LicenceError: E-MOD-007 or E-MOD-008 when the use is not allowed.
    """
    from luthier.foundation.core.model_files import compute_weights_digest
    from luthier.foundation.schema.sections import ModelSection
    from luthier.stages.model.folder import check_safe, read_shape
    from luthier.stages.model.stage import check_licence, locate_base

    folder = locate_base(base, base_folder=Path.cwd(), environment=os.environ)
    check_safe(folder)
    shape = read_shape(folder)
    verdict = check_licence(ModelSection(base=base, license=license), use=use)
    return {
        "base": base,
        "path": str(folder.resolve()),
        "is_safe": True,
        "weights": compute_weights_digest(folder),
        "licence": verdict.model_dump(mode="json"),
        "shape": shape.model_dump(mode="json"),
    }
