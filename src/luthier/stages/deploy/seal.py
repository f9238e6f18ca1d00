"""Witness, signature, and the moment in which a release's folder appears, whole, under its digest."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from luthier.foundation.core.files import MANIFEST_NAME, FileSystem, write_atomic, write_folder_atomic
from luthier.foundation.core.hashing import sha256_file
from luthier.foundation.schema.approval import Approval
from luthier.foundation.schema.protocols import Context
from luthier.foundation.schema.release import Release, ReleaseWitness
from luthier.instruments.govern.signing import Signature, find_signing_key, sign_manifest
from luthier.stages.deploy.bundle import Given
from luthier.stages.deploy.certificate import Certified
from luthier.stages.deploy.layout import (
    PAGE_NAME,
    RECIPE_NAME,
    RELEASE_NAME,
    SIGNATURE_NAME,
    WITNESS_NAME,
    list_digests,
    show_identity,
    to_bytes,
)
from luthier.stages.deploy.verify import find_faults

MADE = "release.made"
"""The audit log's word for a new release; its facts hold the digest and the manifest's sha256."""


@dataclass(frozen=True)
class Making:
    """How a release came about.

    Attributes:
        created: When, UTC in ISO 8601.
        audit_head: Hash of the newest audit entry then.
    """

    given: Given
    certified: Certified
    created: str
    audit_head: str
    seconds: float = 0.0


def put_in_place(release: Release, staging: Path, making: Making, ctx: Context) -> Release:
    """Seal a release; one of the same digest that lies there whole is kept, a damaged one is set aside aloud.

    Args:
        release: As ``make_release`` put it together.
        staging: Holds exports and papers; its files are moved.
        making: For the witness.
        ctx: What lifecycle hands over.

    Returns:
        The release with its witness.

    Raises:
        StoreError: E-ENV-003 when the disk is full; no half release is left.
        EnvironmentLacks: E-GOV-005 when the signing key cannot be used.
    """
    target = ctx.workspace_folder / "releases" / release.digest
    if target.exists():
        faults = find_faults(target, release.digest)
        if not faults:
            shutil.rmtree(staging)
            return release.model_copy(update={"witness": read_witness(target)})
        aside = target.with_name(f"damaged-{target.name[:12]}-{ctx.clock.now():%Y%m%dT%H%M%S%f}")
        ctx.fs.replace(target, aside)
        ctx.progress.say(f"{faults[0].what}; the damaged folder was set aside as {aside.name}")
    sealed = _seal(release, staging, target, making, fs=ctx.fs)
    ctx.audit(MADE, release=release.digest, manifest=sha256_file(target / MANIFEST_NAME))
    return sealed


def _seal(release: Release, staging: Path, target: Path, making: Making, *, fs: FileSystem) -> Release:
    told = [staging / name for name in (PAGE_NAME, RECIPE_NAME) if (staging / name).is_file()]
    witness = ReleaseWitness(
        folder=str(target),
        files={path.name: sha256_file(path) for path in told},
        created=making.created,
        seconds=making.seconds,
        audit_head=making.audit_head,
        measured=making.certified.measured,
        noise_floor=making.certified.noise_floor,
        approvals=tuple(_tell(approval) for approval in making.given.approvals),
    )
    write_atomic(staging / RELEASE_NAME, to_bytes(show_identity(release)), fs=fs)
    write_atomic(staging / WITNESS_NAME, to_bytes(witness.model_dump(mode="json")), fs=fs)
    signature = sign_manifest(list_digests(staging), key=find_signing_key(making.given.govern.sign))
    write_atomic(staging / SIGNATURE_NAME, to_bytes(signature.model_dump(mode="json")), fs=fs)

    def move(folder: Path) -> None:
        for path in sorted(path for path in staging.rglob("*") if path.is_file()):
            place = folder / path.relative_to(staging)
            place.parent.mkdir(parents=True, exist_ok=True)
            fs.replace(path, place)

    target.parent.mkdir(parents=True, exist_ok=True)
    write_folder_atomic(target, move, fs=fs)
    shutil.rmtree(staging)
    return release.model_copy(update={"witness": witness.model_copy(update={"signature": signature.describe()})})


def read_witness(folder: Path) -> ReleaseWitness:
    """Read the witness of a release that lies there whole; its folder is where it lies now."""
    witness = ReleaseWitness.model_validate_json((folder / WITNESS_NAME).read_bytes())
    signature = Signature.model_validate_json((folder / SIGNATURE_NAME).read_bytes())
    return witness.model_copy(update={"folder": str(folder), "signature": signature.describe()})


def _tell(approval: Approval) -> str:
    verb = "overrode" if approval.is_override else "approved"
    return f"{approval.by} {verb} at {approval.time}: {approval.reason}"
