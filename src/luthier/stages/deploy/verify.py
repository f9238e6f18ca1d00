"""Is a release what it was when it was made? Every file is read; what was changed, added or taken away is named."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from luthier.foundation.core.errors import PolicyDenied, Problem
from luthier.foundation.core.files import MANIFEST_NAME
from luthier.foundation.core.hashing import sha256_json
from luthier.foundation.schema.release import Release, ReleaseIdentity, ReleaseWitness
from luthier.instruments.govern.signing import Signature, verify_manifest
from luthier.stages.deploy.layout import RELEASE_NAME, SIGNATURE_NAME, list_digests, to_bytes

MAX_SHOWN: Final = 20
FIX: Final = "make it again with `luthier run RECIPE`, or get it from whoever made it; do not serve this folder"


def find_faults(folder: Path, digest: str, *, manifest: str = "") -> list[Problem]:
    """List what differs between a release's folder and what it was, worst first; empty where every byte is as made.

    Args:
        folder: The release's folder.
        digest: The release's digest, as the record or whoever asks for it knows it.
        manifest: sha256 of the folder's manifest as the audit log has it; empty where nobody knows.
    """
    if not folder.is_dir():
        return [_fault("the release's folder is missing", got="no folder", origin=folder)]
    actual = list_digests(folder)
    faults = list(_find_identity_faults(folder, digest, actual))
    named = {problem.field for problem in faults}
    faults += [problem for problem in _find_manifest_faults(folder, actual) if problem.field not in named]
    if not faults and manifest and actual[MANIFEST_NAME] != manifest:
        faults.append(_changed(folder, MANIFEST_NAME, "the audit log recorded another manifest"))
    return faults[:MAX_SHOWN]


def verify(folder: Path, digest: str, *, manifest: str = "", public_key: Path | None = None) -> str:
    """Refuse a release that is not what it was.

    Args:
        folder: The release's folder.
        digest: The release's digest.
        manifest: As for :func:`find_faults`.
        public_key: PEM file of the key that must have signed it; None takes any, or none.

    Returns:
        Who vouches for it, in words.

    Raises:
        PolicyDenied: E-DEP-008 with every changed, added or missing file; E-GOV-006 for a signature that does not fit.
        MissingExtra: E-ENV-001 where a signature cannot be checked.
    """
    faults = find_faults(folder, digest, manifest=manifest)
    if faults:
        raise PolicyDenied.collect(faults)
    return verify_manifest(list_signed(list_digests(folder)), _read_signature(folder), public_key=public_key)


def _find_identity_faults(folder: Path, digest: str, actual: Mapping[str, str]) -> Iterator[Problem]:
    """Compare ``release.json`` with the digest, and the files that it names with their digests."""
    identity = _read_identity(folder / RELEASE_NAME)
    if identity is None:
        missing = RELEASE_NAME not in actual
        yield _changed(folder, RELEASE_NAME, "it is missing" if missing else "it cannot be read")
        return
    release = Release(identity=identity, witness=ReleaseWitness(folder=str(folder)))
    if release.digest != digest:
        yield _changed(folder, RELEASE_NAME, f"its identity has the digest {release.digest[:12]}", allowed=digest)
        return
    for name, wanted in identity.files.items():
        if actual.get(name) != wanted:
            got = "it is missing" if name not in actual else "its bytes were changed"
            yield _changed(folder, name, got, allowed=f"sha256 {wanted}")


def _find_manifest_faults(folder: Path, actual: Mapping[str, str]) -> Iterator[Problem]:
    """Compare all files with the manifest, and the manifest with the only form in which it is written."""
    path = folder / MANIFEST_NAME
    if MANIFEST_NAME not in actual:
        yield _changed(folder, MANIFEST_NAME, "it is missing")
        return
    try:
        manifest: dict[str, dict[str, Any]] = json.loads(path.read_bytes())
        wanted = {name: str(entry["sha256"]) for name, entry in manifest.items()}
        is_as_written = json.dumps(manifest, indent=1, sort_keys=True).encode() == path.read_bytes()
    except (ValueError, TypeError, KeyError, AttributeError):
        yield _changed(folder, MANIFEST_NAME, "it cannot be read")
        return
    if not is_as_written or (_is_signed(folder, actual) and _differs(wanted, actual)):
        yield _changed(folder, MANIFEST_NAME, "its bytes were changed")
        return
    for name in sorted(wanted.keys() | actual.keys() - {MANIFEST_NAME}):
        if name not in wanted:
            yield _changed(folder, name, "it was added")
        elif name not in actual:
            yield _changed(folder, name, "it is missing")
        elif actual[name] == wanted[name] and (folder / name).stat().st_size != manifest[name].get("bytes"):
            yield _changed(folder, MANIFEST_NAME, "its bytes were changed")
        elif actual[name] != wanted[name]:
            yield _changed(folder, name, "its bytes were changed", allowed=f"sha256 {wanted[name]}")


def _differs(wanted: Mapping[str, str], actual: Mapping[str, str]) -> bool:
    """Say whether the manifest names other digests than the files have, the signature's own aside."""
    return any(wanted.get(name) != digest for name, digest in list_signed(actual).items())


def _is_signed(folder: Path, actual: Mapping[str, str]) -> bool:
    """Say whether the files are those that were signed: where the manifest differs all the same, it was changed."""
    try:
        signature = Signature.model_validate_json((folder / SIGNATURE_NAME).read_bytes())
    except (OSError, ValidationError):
        return False
    return signature.manifest == sha256_json(list_signed(actual))


def list_signed(digests: Mapping[str, str]) -> dict[str, str]:
    """Return the digests that a signature covers: of all files but itself and the manifest, which names it."""
    return {name: digest for name, digest in digests.items() if name not in {SIGNATURE_NAME, MANIFEST_NAME}}


def _read_identity(path: Path) -> ReleaseIdentity | None:
    """Read ``release.json``; None where it is not, to the byte, what a release writes."""
    try:
        data = path.read_bytes()
        shown = json.loads(data)
        identity = ReleaseIdentity.model_validate(shown["identity"])
        names = {name: shown[name] for name in ("kind", "schema_version", "identity")}
        is_as_written = to_bytes({**names, "digest": sha256_json(names)}) == data
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        return None
    return identity if is_as_written else None


def _read_signature(folder: Path) -> Signature:
    try:
        return Signature.model_validate_json((folder / SIGNATURE_NAME).read_bytes())
    except (OSError, ValidationError) as error:
        raise PolicyDenied.collect([_changed(folder, SIGNATURE_NAME, "it cannot be read")]) from error


def _changed(folder: Path, name: str, got: str, *, allowed: str = "") -> Problem:
    return Problem(
        "E-DEP-008",
        f"the release's {name} is not what it was when the release was made",
        got=got,
        origin=str(folder / name),
        allowed=allowed or "every file as the release's manifest names it, and no other",
        fix=FIX,
        field=name,
    )


def _fault(what: str, *, got: str, origin: Path) -> Problem:
    return Problem("E-DEP-009", what, got=got, origin=str(origin), allowed="the folder as it was made", fix=FIX)
