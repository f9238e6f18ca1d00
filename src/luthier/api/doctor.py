"""What this machine has and lacks, each finding with the line that mends it. Nothing heavy is imported."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, Literal

from luthier.foundation.schema.noun import Noun

State = Literal["ok", "note", "lacking"]
CORE_PACKAGES: Final = ("torch", "transformers", "tokenizers", "safetensors", "peft", "accelerate", "gguf", "pyarrow")
NEEDED_BYTES: Final = 2 * 2**30  # the default base and one run's checkpoints


class Finding(Noun):
    """One thing looked at. Only what is lacking keeps a run from working."""

    name: str
    state: State
    found: str
    fix: str = ""


def examine(folder: Path, *, environment: Mapping[str, str] | None = None) -> list[Finding]:
    """Look at Python, packages, disk, memory, the default base and the workspace.

    Args:
        folder: The workspace's folder.
        environment: Variables; the process's own by default.
    """
    variables = os.environ if environment is None else environment
    return [
        _examine_python(),
        _examine_system(),
        _examine_machine(),
        *(_examine_package(name) for name in CORE_PACKAGES),
        _examine_disk(folder),
        _examine_base(variables),
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


def _examine_machine() -> Finding:
    from luthier.stages.plan.hardware import find_hardware

    hardware = find_hardware()
    memory = f"{hardware.available_bytes / 2**30:.1f} of {hardware.memory_bytes / 2**30:.1f} GiB free"
    return Finding(name="machine", state="ok", found=f"{hardware.cores} cores, {memory}, {hardware.processor}")


def _examine_package(name: str) -> Finding:
    try:
        return Finding(name=name, state="ok", found=version(name))
    except PackageNotFoundError:
        return Finding(name=name, state="lacking", found="not installed", fix=f"pip install {name}")


def _examine_disk(folder: Path) -> Finding:
    place = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(place).free
    is_good = free >= NEEDED_BYTES
    return Finding(
        name="disk",
        state="ok" if is_good else "lacking",
        found=f"{free / 2**30:.1f} GiB free at {place}",
        fix="" if is_good else "luthier gc",
    )


def _examine_base(environment: Mapping[str, str]) -> Finding:
    from luthier.stages.model.catalogue import DEFAULT_BASE
    from luthier.stages.model.pull import find_cache, find_pulled

    folder = find_pulled(DEFAULT_BASE, cache=find_cache(environment))
    if folder is not None:
        return Finding(name="default base", state="ok", found=str(folder))
    return Finding(name="default base", state="note", found="not pulled yet", fix=f"luthier model pull {DEFAULT_BASE}")


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
    if not workspace.folder.is_dir():
        return Finding(name="workspace", state="note", found=f"none at {workspace.root} yet", fix="luthier run RECIPE")
    try:
        num_records = len(workspace.records.entries())
    except StoreError as error:
        problem = error.problems[0]
        return Finding(name="workspace", state="lacking", found=problem.what, fix=problem.fix)
    return Finding(name="workspace", state="ok", found=f"{workspace.folder}: {num_records} records")
