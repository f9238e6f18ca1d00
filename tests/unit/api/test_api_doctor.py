"""The doctor names what is missing and the line that mends it, and imports nothing heavy to find out."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from luthier.api import doctor
from luthier.stages.plan import hardware


def examine(folder: Path, **environment: str) -> dict[str, doctor.Finding]:
    return {found.name: found for found in doctor.examine(folder, environment={"HOME": str(folder), **environment})}


def test_everything_that_is_not_well_has_a_line_that_mends_it(tmp_path: Path) -> None:
    found = examine(tmp_path, HF_HUB_OFFLINE="1", LUTHIER_DATA=str(tmp_path / "none"))
    assert [name for name, finding in found.items() if finding.state != "ok" and not finding.fix] == []
    assert {
        "cores",
        "memory",
        "bf16",
        "bf16 kernels",
        "torch build",
        "disk",
        "model cache",
        "default base",
        "hub",
    } <= set(found)
    assert (found["hub"].state, found["hub"].fix) == ("note", "unset HF_HUB_OFFLINE")
    assert found["LUTHIER_DATA"].state == "lacking"


def test_the_hub_and_its_token_are_told_without_the_token(tmp_path: Path) -> None:
    found = examine(tmp_path, HF_ENDPOINT="http://127.0.0.1:9", HF_TOKEN="hf_not-a-real-one")  # noqa: S106
    assert found["hub"].found == "http://127.0.0.1:9, with a token"


def test_places_that_may_not_be_written_are_lacking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root every place may be written, so the answer is made here."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    found = examine(tmp_path, LUTHIER_CACHE=str(tmp_path / "cache"))
    assert (found["model cache"].state, found["workspace"].state) == ("lacking", "lacking")
    assert found["model cache"].fix == "export LUTHIER_CACHE=/a/folder/of/yours"
    assert "--workspace" in found["workspace"].fix
    assert not doctor.is_able(list(found.values()))


def test_little_memory_and_no_bf16_are_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = hardware.find_hardware().model_copy(update={"available_bytes": 2**30, "has_fast_bf16": False})
    monkeypatch.setattr(hardware, "find_hardware", lambda: small)
    found = examine(tmp_path)
    assert (found["memory"].state, found["bf16"].state) == ("note", "note")
    assert found["memory"].found.startswith("1.0 of")


def test_kernels_that_cannot_be_compiled_are_a_note(tmp_path: Path) -> None:
    off = examine(tmp_path, LUTHIER_KERNELS="off")["bf16 kernels"]
    assert (off.state, off.found, off.fix) == ("note", "none: LUTHIER_KERNELS=off", "unset LUTHIER_KERNELS")
    without = examine(tmp_path, CC=str(tmp_path / "missing"))["bf16 kernels"]
    assert without.state == "note"
    assert without.fix


def test_packages_that_are_missing_name_the_install_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = doctor.version

    def forget(package: str) -> str:
        if package in {"torch", "cryptography"}:
            raise PackageNotFoundError(package)
        return known(package)

    monkeypatch.setattr(doctor, "version", forget)
    found = examine(tmp_path)
    assert (found["torch"].state, found["torch"].fix) == ("lacking", "pip install torch")
    assert (found["torch build"].state, found["extra otel"].state) == ("lacking", "ok")
    assert (found["extra sign"].state, found["extra sign"].fix) == ("note", 'pip install "luthier[sign]"')
    assert {name for name in found if name.startswith("extra ")}.isdisjoint({"extra dev", "extra test"})


@pytest.mark.parametrize(
    ("release", "said"), [("2.13.0+cpu", "for processors only"), ("2.13.0+cu130", "for cu130"), ("2.13.0", "default")]
)
def test_torchs_build_is_told_by_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, release: str, said: str
) -> None:
    monkeypatch.setattr(doctor, "version", lambda _: release)
    assert said in examine(tmp_path)["torch build"].found


def test_the_doctor_does_not_load_torch() -> None:
    script = "import sys; from pathlib import Path; from luthier.api.doctor import examine; examine(Path.cwd())\n"
    script += "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
