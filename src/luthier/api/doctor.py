"""What this machine has and lacks, each finding with the line that mends it. Nothing heavy is imported."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Final, Literal

from luthier.foundation.schema.noun import Noun

State = Literal["ok", "note", "lacking"]
CORE_PACKAGES: Final = ("torch", "transformers", "tokenizers", "safetensors", "peft", "accelerate", "gguf", "pyarrow")
NEEDED_MEMORY_BYTES: Final = 3 * 2**30  # what the default base trains in
EXTRA: Final = re.compile(r"(?P<package>[\w.-]+).*;.*extra\s*==\s*['\"](?P<extra>[\w-]+)['\"]")
DEVELOPERS_EXTRAS: Final = frozenset({"dev", "test"})
NEEDED_BYTES: Final = 2 * 2**30  # the default base and one run's checkpoints


class Finding(Noun):
    """One thing looked at. Only what is lacking keeps a run from working."""

    name: str
    state: State
    found: str
    fix: str = ""


def examine(folder: Path, *, environment: Mapping[str, str] | None = None) -> list[Finding]:
    """Look at Python, packages, the machine, models at hand, the network's settings and places to write.

    Args:
        folder: The workspace's folder.
        environment: Variables; the process's own by default.
    """
    variables = os.environ if environment is None else environment
    return [
        _examine_python(),
        _examine_system(),
        *_examine_machine(),
        *(_examine_package(name) for name in CORE_PACKAGES),
        _examine_torch_build(),
        _examine_kernels(variables),
        *_examine_extras(),
        _examine_disk(folder),
        _examine_cache(variables),
        _examine_base(variables),
        _examine_hub(variables),
        _examine_data(variables),
        _examine_workspace(folder),
    ]


def is_able(findings: list[Finding]) -> bool:
    """Tell whether nothing is lacking."""
    return all(finding.state != "lacking" for finding in findings)


def _examine_python() -> Finding:
    found = platform.python_version()
    is_good = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return Finding(
        name="python",
        state="ok" if is_good else "lacking",
        found=found,
        fix="" if is_good else "use Python 3.11, 3.12 or 3.13",
    )


def _examine_system() -> Finding:
    is_tried = platform.system() in {"Linux", "Darwin"}
    note = "" if is_tried else "Linux and macOS are tested; this system is untried"
    return Finding(name="system", state="ok" if is_tried else "note", found=platform.platform(), fix=note)


def _examine_machine() -> list[Finding]:
    from luthier.stages.plan.hardware import find_hardware

    hardware = find_hardware()
    free, whole = hardware.available_bytes / 2**30, hardware.memory_bytes / 2**30
    is_enough = hardware.available_bytes >= NEEDED_MEMORY_BYTES
    bf16 = "the processor multiplies bf16" if hardware.has_fast_bf16 else "the processor has no bf16 of its own"
    slow = "" if hardware.has_fast_bf16 else "training runs in fp32; nothing needs to be done"
    return [
        Finding(name="cores", state="ok", found=f"{hardware.cores}, {hardware.processor}"),
        Finding(
            name="memory",
            state="ok" if is_enough else "note",
            found=f"{free:.1f} of {whole:.1f} GiB free",
            fix="" if is_enough else "close other programs; the default base trains in 3 GiB",
        ),
        Finding(name="bf16", state="ok" if hardware.has_fast_bf16 else "note", found=bf16, fix=slow),
    ]


def _examine_torch_build() -> Finding:
    """Tell by torch's version which build it is; importing it would take seconds."""
    try:
        found = version("torch")
    except PackageNotFoundError:
        return Finding(name="torch build", state="lacking", found="not installed", fix="pip install torch")
    local = found.partition("+")[2]
    kind = {"": "the index's default build", "cpu": "for processors only"}.get(local, f"for {local}")
    return Finding(name="torch build", state="ok", found=kind)


def _examine_kernels(environment: Mapping[str, str]) -> Finding:
    from luthier.instruments.engine.kernels.build import build

    built = build(environment)
    if built.library is not None:
        return Finding(name="bf16 kernels", state="ok", found="compiled for this processor, proven where they are used")
    fix = built.fix or "torch computes the same a tenth slower; nothing needs to be done"
    return Finding(name="bf16 kernels", state="note", found=f"none: {built.why_not}", fix=fix)


def _examine_extras() -> list[Finding]:
    """Tell which optional features have their packages."""
    needed: dict[str, list[str]] = {}
    for line in requires("luthier") or []:
        match = EXTRA.match(line)
        if match is not None and match["extra"] not in DEVELOPERS_EXTRAS:
            needed.setdefault(match["extra"], []).append(match["package"])
    findings = []
    for extra, packages in sorted(needed.items()):
        missing = [package for package in packages if not _is_installed(package)]
        findings.append(
            Finding(
                name=f"extra {extra}",
                state="note" if missing else "ok",
                found=f"{', '.join(missing)} not installed" if missing else "installed",
                fix=f'pip install "luthier[{extra}]"' if missing else "",
            )
        )
    return findings


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _examine_package(name: str) -> Finding:
    try:
        return Finding(name=name, state="ok", found=version(name))
    except PackageNotFoundError:
        return Finding(name=name, state="lacking", found="not installed", fix=f"pip install {name}")


def _examine_disk(folder: Path) -> Finding:
    place = _find_existing(folder)
    free = shutil.disk_usage(place).free
    is_good = free >= NEEDED_BYTES
    return Finding(
        name="disk",
        state="ok" if is_good else "lacking",
        found=f"{free / 2**30:.1f} GiB free at {place}",
        fix="" if is_good else "luthier gc",
    )


def _examine_cache(environment: Mapping[str, str]) -> Finding:
    from luthier.stages.model.cache import find_cache

    cache = find_cache(environment)
    place = _find_existing(cache)
    if os.access(place, os.W_OK | os.X_OK):
        return Finding(name="model cache", state="ok", found=str(cache))
    fix = "export LUTHIER_CACHE=/a/folder/of/yours"
    return Finding(name="model cache", state="lacking", found=f"{place} may not be written", fix=fix)


def _examine_base(environment: Mapping[str, str]) -> Finding:
    from luthier.stages.model.cache import find_cache, find_cached
    from luthier.stages.model.catalogue import DEFAULT_BASE

    folder = find_cached(DEFAULT_BASE, cache=find_cache(environment))
    if folder is not None:
        return Finding(name="default base", state="ok", found=str(folder))
    return Finding(name="default base", state="note", found="not pulled yet", fix=f"luthier model pull {DEFAULT_BASE}")


def _examine_hub(environment: Mapping[str, str]) -> Finding:
    from luthier.instruments.remote.clients.hub import DEFAULT_ENDPOINT, is_offline

    if is_offline(environment):
        return Finding(
            name="hub",
            state="note",
            found="HF_HUB_OFFLINE forbids `model pull` from the hub; nothing else needs it",
            fix="unset HF_HUB_OFFLINE",
        )
    token = "with a token" if environment.get("HF_TOKEN") else "without a token"
    return Finding(name="hub", state="ok", found=f"{environment.get('HF_ENDPOINT') or DEFAULT_ENDPOINT}, {token}")


def _examine_data(environment: Mapping[str, str]) -> Finding:
    given = environment.get("LUTHIER_DATA")
    if not given:
        return Finding(name="LUTHIER_DATA", state="note", found="not set", fix="export LUTHIER_DATA=/path/to/data")
    is_good = Path(given).is_dir()
    return Finding(
        name="LUTHIER_DATA",
        state="ok" if is_good else "lacking",
        found=given if is_good else f"{given} is no folder",
        fix="" if is_good else "export LUTHIER_DATA=/path/to/data",
    )


def _examine_workspace(folder: Path) -> Finding:
    from luthier.foundation.core.errors import StoreError
    from luthier.foundation.store.workspace import Workspace

    workspace = Workspace.open(folder)
    place = _find_existing(workspace.folder)
    if not os.access(place, os.W_OK | os.X_OK):
        fix = "luthier run RECIPE --workspace /a/folder/of/yours"
        return Finding(name="workspace", state="lacking", found=f"{place} may not be written", fix=fix)
    if not workspace.folder.is_dir():
        return Finding(name="workspace", state="note", found=f"none at {workspace.root} yet", fix="luthier run RECIPE")
    try:
        num_records = len(workspace.records.entries())
    except StoreError as error:
        problem = error.problems[0]
        return Finding(name="workspace", state="lacking", found=problem.what, fix=problem.fix)
    return Finding(name="workspace", state="ok", found=f"{workspace.folder}: {num_records} records")


def _find_existing(folder: Path) -> Path:
    return next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
