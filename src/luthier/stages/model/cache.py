"""The user's cache of models: where it is, what lies in it, one writer a model, each model whole or not there.

``<cache>/<name>@<first 12 digits of its digest>/`` holds a model, its origin.json and a manifest that is compared on
every opening. A hub id's slash is written as two hyphens, which no hub id has.
"""

from __future__ import annotations

import fcntl
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from luthier.foundation.core.errors import EnvironmentLacks, StoreError
from luthier.foundation.core.files import REAL, FileSystem, find_damage, write_folder_atomic
from luthier.foundation.core.model_files import compute_weights_digest
from luthier.foundation.core.user_cache import find_user_cache
from luthier.foundation.schema.noun import Noun
from luthier.stages.model.catalogue import ModelKind

ORIGIN_NAME: Final = "origin.json"
DIGEST_CHARACTERS: Final = 12
CACHED: Final = re.compile(rf"(?P<name>[^/]+)@(?P<digest>[0-9a-f]{{{DIGEST_CHARACTERS}}})")


class Origin(Noun):
    """Where a cached model came from. What does not apply is empty.

    Attributes:
        name: What recipes say.
        licence: SPDX identifier, as far as the source states one.
        package: Package and version on the Python index.
        repository: Repository on the hub.
        revision: Branch, tag or commit that was asked for.
        commit: What it meant when it was pulled.
        gguf: Name of the GGUF file that it was converted from.
    """

    name: str
    kind: ModelKind = "base"
    licence: str = ""
    package: str = ""
    wheel_sha256: str = ""
    gguf: str = ""
    gguf_sha256: str = ""
    repository: str = ""
    revision: str = ""
    commit: str = ""

    def describe(self) -> str:
        """Say it in a few words."""
        if self.package:
            return f"package {self.package}"
        if self.repository:
            return f"hub {self.repository} at {self.commit[:DIGEST_CHARACTERS]}"
        return f"GGUF file {self.gguf}"


def find_cache(environment: Mapping[str, str]) -> Path:
    """Return the folder of pulled models: ``${LUTHIER_CACHE:-${XDG_CACHE_HOME:-~/.cache}/luthier}/models``."""
    return find_user_cache(environment) / "models"


def flatten(name: str) -> str:
    """Write a model's name as a folder's: ``org/name@v1`` becomes ``org--name--v1``, a catalogue name stays."""
    return re.sub(r"[/@]", "--", name) if "/" in name else name


def list_cached(cache: Path) -> list[Path]:
    """List the folders of all models in the cache, sorted by name; nothing is verified yet."""
    return sorted(path for path in cache.glob("*@*") if CACHED.fullmatch(path.name) and path.is_dir())


def find_cached(name: str, *, cache: Path) -> Path | None:
    """Return the folder of a model by its name, or by name and digest; None where it is not here."""
    for folder in reversed(list_cached(cache)):
        match = CACHED.fullmatch(folder.name)
        if match is not None and (match["name"] == flatten(name) or folder.name == name):
            return folder
    return None


def read_origin(folder: Path) -> Origin | None:
    """Return what is recorded of a cached model; None for any other folder."""
    path = folder / ORIGIN_NAME
    try:
        return Origin.model_validate_json(path.read_bytes()) if path.is_file() else None
    except ValidationError:  # somebody's own file of that name; in the cache the manifest vouches for ours
        return None


def open_cached(name: str, *, cache: Path) -> Path:
    """Return the folder of a model after comparing every byte with its manifest.

    Raises:
        EnvironmentLacks: E-ENV-005 when it was never pulled.
        StoreError: E-MOD-005 when a file was changed, added or removed.
    """
    folder = find_cached(name, cache=cache)
    if folder is None:
        has_slash = "/" in name  # then it may have been meant as a path
        raise EnvironmentLacks(
            "E-ENV-005",
            f"there is no folder {name}, nor was a model of that name pulled"
            if has_slash
            else f"the model {name} has not been pulled yet",
            got=f"nothing at {cache}",
            allowed="a pulled model or a local folder",
            fix=f"luthier model pull {name}",
        )
    damage = find_damage(folder)
    if damage is not None:
        raise StoreError(
            "E-MOD-005",
            "the pulled model differs from what was pulled",
            got=damage,
            origin=str(cache),
            allowed="the files as they were written",
            fix=f"luthier model pull {name}",
        )
    return folder


@contextmanager
def lock(cache: Path, name: str) -> Iterator[None]:
    """Hold the one lock of a name; the kernel drops it when the holder dies, however it dies."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{flatten(name)}.lock").open("w", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def check_space(cache: Path, name: str, needed_bytes: int) -> None:
    """Refuse to begin what the disk cannot hold.

    Raises:
        StoreError: E-ENV-003.
    """
    free = shutil.disk_usage(cache).free
    if free < needed_bytes:
        raise StoreError(
            "E-ENV-003",
            f"not enough disk to pull {name}",
            got=f"{free / 2**20:.0f} MiB free at {cache}",
            needs=f"{needed_bytes / 2**20:.0f} MiB",
            allowed="another cache folder by LUTHIER_CACHE",
            fix="export LUTHIER_CACHE=/a/larger/disk",
        )


def install(files: Path, origin: Origin, *, cache: Path, fs: FileSystem = REAL) -> Path:
    """Move a model's files into the cache in one step.

    Args:
        files: Folder of the files, on the cache's file system; it is emptied. What is made on the way lies beside it.
        origin: Written beside the files.
        cache: The cache.
        fs: File system to write through.

    Returns:
        ``<name>@<first 12 digits of the weights' digest>``.
    """
    digest = compute_weights_digest(files)
    ready = files.parent / f"{flatten(origin.name)}@{digest[:DIGEST_CHARACTERS]}"
    shutil.rmtree(ready, ignore_errors=True)

    def fill(folder: Path) -> None:
        for path in sorted(files.iterdir()):
            shutil.move(path, folder / path.name)
        written = json.dumps(origin.model_dump(mode="json", exclude_defaults=True), indent=1)
        (folder / ORIGIN_NAME).write_text(written + "\n", encoding="utf-8")

    write_folder_atomic(ready, fill, fs=fs)
    target = cache / ready.name
    shutil.rmtree(target, ignore_errors=True)
    fs.replace(ready, target)
    fs.sync_folder(cache)
    return target
