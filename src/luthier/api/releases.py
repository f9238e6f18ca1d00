"""Releases: list, show, export, certify again, verify."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.api.generate import locate_base
from luthier.foundation.core.errors import RecipeError
from luthier.foundation.core.files import REAL, write_folder_atomic
from luthier.foundation.core.progress import Progress, SilentProgress
from luthier.foundation.schema.model import ModelChoice
from luthier.foundation.schema.plan import Plan
from luthier.foundation.schema.run import Run
from luthier.foundation.store.workspace import Workspace

if TYPE_CHECKING:
    from luthier.foundation.schema.release import Release
    from luthier.lifecycle.releases import FoundRelease
    from luthier.stages.deploy.certificate import Subject


def list_releases(folder: Path) -> list[dict[str, Any]]:
    """Describe every release of a workspace, newest first.

    Args:
        folder: The folder that holds ``.luthier``.
    """
    from luthier.lifecycle.releases import list_releases as list_all

    return [_describe(release) for release in list_all(Workspace.open(folder))]


def show_release(folder: Path, text: str) -> dict[str, Any]:
    """Return a release's record with its certificate and what was measured.

    Args:
        folder: The folder that holds ``.luthier``.
        text: ``NAME``, ``NAME@DIGEST``, ``DIGEST`` or the path of a release's folder.

    Raises:
        RecipeError: E-DEP-007 for what names no release.
    """
    from luthier.lifecycle.releases import find_release
    from luthier.lifecycle.result import show_parity

    found = find_release(Workspace.open(folder), text)
    return found.record.to_json() | {
        "folder": str(found.folder),
        "parity": show_parity(found.record),
    }


def verify_release(folder: Path, text: str, *, public_key: Path | None = None) -> dict[str, Any]:
    """Check every byte of a release against its digest, its manifest, its signature and the audit log.

    Args:
        folder: The folder that holds ``.luthier``.
        text: Which release.
        public_key: PEM file of the key that must have signed it.

    Returns:
        ``release``, ``folder``, ``num_files`` and ``vouched_by``.

    Raises:
        RecipeError: E-DEP-007 for what names no release.
        PolicyDenied: E-DEP-008 with every file that was changed, added or taken away; E-GOV-006 for its signature.
    """
    from luthier.lifecycle.releases import find_recorded_manifest, find_release
    from luthier.stages.deploy.layout import list_digests
    from luthier.stages.deploy.verify import verify

    workspace = Workspace.open(folder)
    found = find_release(workspace, text)
    recorded = find_recorded_manifest(workspace, found.digest)
    vouched_by = verify(found.folder, found.digest, manifest=recorded, public_key=public_key)
    return {
        "release": found.digest,
        "name": found.record.identity.name,
        "folder": str(found.folder),
        "num_files": len(list_digests(found.folder)),
        "vouched_by": vouched_by,
        "in_audit_log": bool(recorded),
    }


def certify_release(folder: Path, text: str, *, progress: Progress | None = None) -> dict[str, Any]:
    """Run the parity certificate again on a release as it lies, then check its bytes.

    Args:
        folder: The folder that holds ``.luthier`` with the run that it came from.
        text: Which release.
        progress: Told which step is at work.

    Returns:
        ``release``, ``certificate``, ``measured`` and ``noise_floor``.

    Raises:
        PolicyDenied: E-DEP-001 with the step that is beyond its contract; E-DEP-008 where parity holds and bytes
            were changed all the same.
        RecipeError: E-DEP-007 for what names no release, or one whose run this workspace does not have.
        DeployError: E-DEP-002 when the base is not the recorded one.
    """
    from luthier.lifecycle.releases import find_release
    from luthier.stages.deploy.certificate import certify
    from luthier.stages.deploy.server_process import ServerProcess

    workspace = Workspace.open(folder)
    found = find_release(workspace, text)
    place = workspace.folder / "work" / f"certify-{found.digest[:12]}"
    place.mkdir(parents=True, exist_ok=True)
    subject = _make_subject(workspace, found, place)
    try:
        certified = certify(subject, ask_server=ServerProcess(place), progress=progress or SilentProgress())
    finally:
        shutil.rmtree(subject.trained.folder)
    certified.require()
    verify_release(folder, text)
    return {
        "release": found.digest,
        "certificate": certified.certificate.model_dump(mode="json"),
        "measured": [step.model_dump(mode="json") for step in certified.measured],
        "noise_floor": certified.noise_floor,
    }


def export_release(folder: Path, text: str, *, to: Path, form: str) -> dict[str, Any]:
    """Copy one form of a release, its card and its licence notices to a folder of one's own.

    Args:
        folder: The folder that holds ``.luthier``.
        text: Which release.
        to: A folder that does not exist yet or is empty.
        form: ``adapter`` or ``merged``.

    Raises:
        RecipeError: E-DEP-007 for what names no release, E-DEP-010 for a form that it lacks, E-DEP-011 for a folder
            that holds something.
        PolicyDenied: E-DEP-008 when a byte of the release was changed.
    """
    from luthier.lifecycle.releases import find_release

    found = find_release(Workspace.open(folder), text)
    exports = found.record.identity.exports
    if form not in exports:
        raise RecipeError(
            "E-DEP-010",
            f"release {found.record.identity.name}@{found.digest[:12]} has no export {form!r}",
            got=form,
            allowed=", ".join(exports),
            fix=f"luthier release export {text} --format {exports[0]} --to {to}",
            field="--format",
        )
    _check_target(to)
    verify_release(folder, text)

    def fill(target: Path) -> None:
        shutil.copytree(found.folder / form, target, dirs_exist_ok=True)
        shutil.copytree(found.folder / "licences", target / "licences")
        shutil.copyfile(found.folder / "card.md", target / "README.md")

    to.parent.mkdir(parents=True, exist_ok=True)
    if to.is_dir():
        to.rmdir()
    write_folder_atomic(to.absolute(), fill, fs=REAL)
    Workspace.open(folder).audit.append("release.exported", {"release": found.digest, "format": form})
    return {"release": found.digest, "format": form, "folder": str(to.absolute())}


def _check_target(to: Path) -> None:
    if to.is_dir() and not any(to.iterdir()):
        return
    if to.exists():
        raise RecipeError(
            "E-DEP-011",
            "the folder to export into holds something already",
            got=str(to),
            allowed="a folder that does not exist yet, or is empty",
            fix="--to ANOTHER_FOLDER",
            field="--to",
        )


def _make_subject(workspace: Workspace, found: FoundRelease, place: Path) -> Subject:
    """Find what the release came from, and lay it out beside the bundle as it lies."""
    from luthier.stages.deploy.certificate import Subject
    from luthier.stages.deploy.exporter import lay_out_trained
    from luthier.stages.deploy.probes import read_live_probes

    identity = found.record.identity
    if not found.is_recorded:
        raise RecipeError(
            "E-DEP-007",
            "this workspace does not have the run that the release came from, so there is nothing to compare it with",
            got=str(found.folder),
            allowed="a release of this workspace; `luthier release verify` checks a copied one byte for byte",
            fix="--workspace with the folder in which it was made",
        )
    model, plan, run = (workspace.records.get(identity.parents[name]) for name in ("model", "plan", "train"))
    if not (isinstance(model, ModelChoice) and isinstance(plan, Plan) and isinstance(run, Run)):
        raise TypeError(type(run))
    if not Path(model.witness.path).is_dir():
        here = model.witness.model_copy(update={"path": str(locate_base(model.identity.name))})
        model = model.model_copy(update={"witness": here})
    return Subject(
        trained=lay_out_trained(model, run, place / "trained", workspace.blobs),
        exports={name: found.folder / name for name in identity.exports},
        probes=read_live_probes(plan, run, workspace.blobs),
        probes_digest=plan.identity.probes,
        num_asked=identity.certificate.num_asked,
        pack_tokens=plan.identity.pack_tokens,
    )


def _describe(release: Release) -> dict[str, Any]:
    identity, witness = release.identity, release.witness
    return {
        "name": identity.name,
        "release": release.digest,
        "created": witness.created,
        "base": identity.base,
        "exports": list(identity.exports),
        "parity": identity.certificate.verdict,
        "verdict": identity.verdict,
        "override": identity.override,
        "signature": witness.signature,
        "folder": witness.folder,
    }
