"""Stage 2 alone: which models are known and here, pull one, look into one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from luthier.foundation.core.errors import LicenceError
from luthier.foundation.core.progress import Progress, SilentProgress


def list_models(*, environment: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Describe every model of the catalogue and every other one that is in the cache.

    Args:
        environment: Variables that name the cache; the process's own by default.

    Returns:
        Each with ``name``, ``kind``, ``num_parameters``, ``bytes``, ``licence``, ``origin``, ``digest``, ``is_here``
        and ``path``; what only its files can tell is None where it is not here.
    """
    from luthier.stages.model.cache import find_cache, find_cached, list_cached, read_origin
    from luthier.stages.model.catalogue import CATALOGUE

    cache = find_cache(os.environ if environment is None else environment)
    known = [_describe(name, find_cached(name, cache=cache)) for name in CATALOGUE]
    more = [(origin.name, folder) for folder in list_cached(cache) if (origin := read_origin(folder)) is not None]
    return known + [_describe(name, folder) for name, folder in more if name not in CATALOGUE]


def show_model(name: str, *, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return what is known about a model: as in a list, with the catalogue's entry and where it came from.

    Args:
        name: A catalogue name, an id of the hub, or a name that `list_models` gives.
        environment: Variables that name the cache; the process's own by default.

    Raises:
        ModelError: E-MOD-004 for an unknown name.
        EnvironmentLacks: E-ENV-005 for an id of the hub that was not pulled.
    """
    from luthier.stages.model.cache import find_cache, find_cached, open_cached, read_origin
    from luthier.stages.model.catalogue import CATALOGUE
    from luthier.stages.model.pull import find_source

    cache = find_cache(os.environ if environment is None else environment)
    folder = find_cached(name, cache=cache)
    if folder is None and name not in CATALOGUE:
        find_source(name)
        folder = open_cached(name, cache=cache)
    origin = read_origin(folder) if folder is not None else None
    entry = CATALOGUE.get(name)
    return {
        **_describe(name, folder),
        "catalogue": entry.model_dump(mode="json") if entry is not None else None,
        "pulled_from": origin.model_dump(mode="json", exclude_defaults=True) if origin is not None else None,
    }


def _describe(name: str, folder: Path | None) -> dict[str, Any]:
    from luthier.stages.model.cache import read_origin
    from luthier.stages.model.catalogue import CATALOGUE
    from luthier.stages.model.folder import read_tensors

    entry = CATALOGUE.get(name)
    shown: dict[str, Any] = {"name": name, "kind": "base", "num_parameters": None, "bytes": 0, "licence": ""}
    shown |= {"origin": "", "digest": None, "is_here": folder is not None, "path": None}
    if entry is not None:
        shown |= {"kind": entry.kind, "licence": entry.licence, "origin": entry.source.describe()}
    if folder is not None:
        origin = read_origin(folder)
        if origin is not None:
            shown |= {"origin": origin.describe()}
            shown |= {} if entry is not None else {"kind": origin.kind, "licence": origin.licence}
        shown |= {
            "num_parameters": sum(tensor.num_parameters for tensor in read_tensors(folder).values()),
            "bytes": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
            "digest": folder.name.rpartition("@")[2],
            "path": str(folder),
        }
    return shown


def pull_model(
    name: str, *, progress: Progress | None = None, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Bring a model by name into the user's cache, verified; a second call only verifies.

    Args:
        name: A catalogue name, ``ORGANISATION/NAME[@REVISION]`` of the hub, or the path of a GGUF file to convert.
        progress: Told about the download and the conversion.
        environment: Variables that name the cache and the hub; the process's own by default.

    Raises:
        ModelError: E-MOD-004 for an unknown name, E-MOD-006 when what came is not what was pinned or stated, E-MOD-001
            and E-MOD-002 for what is unsafe or no model.
        EnvironmentLacks: E-ENV-004 without network, E-ENV-007 where the hub wants a token.
        StoreError: E-ENV-003 without enough disk.
    """
    from luthier.stages.model.cache import find_cache
    from luthier.stages.model.pull import pull

    variables = os.environ if environment is None else environment
    folder = pull(name, cache=find_cache(variables), progress=progress or SilentProgress(), environment=variables)
    return {"name": name, "path": str(folder), "digest": folder.name.rpartition("@")[2]}


def check_model(base: str, *, use: str = "commercial", license: str | None = None) -> dict[str, Any]:
    """Say what a model is, whether it is safe to load and whether it may be used. Nothing is loaded, nothing runs.

    Args:
        base: A model folder, an adapter's folder, a GGUF file, or the name of a model that was pulled.
        use: Declared use: ``commercial``, ``research`` or ``personal``.
        license: SPDX identifier of its licence, where none is known.

    Returns:
        What :class:`luthier.stages.model.inspection.Inspection` holds, with ``is_safe``, ``may_be_used``, the
        ``licence`` and the ``problems`` that stand against it.

    Raises:
        ModelError: When it is damaged, no model, or unknown.
        EnvironmentLacks: E-ENV-005 when it was not pulled, E-ENV-002 for an unset variable.
    """
    from luthier.foundation.schema.sections import ModelSection
    from luthier.instruments.govern.licences import judge_licence
    from luthier.stages.model.folder import refuse_oddity
    from luthier.stages.model.inspection import inspect
    from luthier.stages.model.stage import check_licence, find_licence

    path = _find_model(base)
    found = inspect(path)
    problems = [refuse_oddity(path, oddity).problems[0] for oddity in found.oddities if oddity.is_unsafe]
    licence = find_licence(base, path, stated=license or found.licence)
    try:
        check_licence(ModelSection(base=base, license=licence or None), path, use=use)
        may_be_used = True
    except LicenceError as error:
        mends = {
            "E-MOD-007": f"luthier model check {base} --use research",
            "E-MOD-008": f"luthier model check {base} --license SPDX",
        }
        problems += [replace(problem, fix=mends[problem.code], field="") for problem in error.problems]
        may_be_used = False
    return {
        "base": base,
        **found.model_dump(mode="json", exclude={"licence"}),
        "is_safe": found.is_safe,
        "use": use,
        "may_be_used": may_be_used,
        "licence": judge_licence(licence, use=use).model_dump(mode="json"),
        "problems": [problem.to_dict() for problem in problems],
    }


def _find_model(base: str) -> Path:
    """Return where a model lies; a GGUF file stays one, for it is not converted to be looked at."""
    from luthier.foundation.recipe.paths import expand_variables
    from luthier.stages.model.catalogue import CATALOGUE
    from luthier.stages.model.stage import locate_base

    path = Path.cwd() / expand_variables(base, os.environ, field="model.base")
    if base not in CATALOGUE and path.exists():
        return path
    return locate_base(base, base_folder=Path.cwd(), environment=os.environ)
