"""What a person calls a release: ``NAME | NAME@DIGEST | DIGEST``, eight digits or more, or the path of its folder."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from luthier.foundation.core.errors import RecipeError, StoreError
from luthier.foundation.core.hashing import sha256_json
from luthier.foundation.schema.release import Release, ReleaseIdentity, ReleaseWitness
from luthier.foundation.store.workspace import Workspace

RELEASE_NAME: Final = "release.json"
WITNESS_NAME: Final = "witness.json"
RELEASES_NAME: Final = "releases"
SHORTEST_DIGEST: Final = 8
SHOWN_NAMES: Final = 10
SHOWN_DIGITS: Final = 12
MADE: Final = "release.made"


@dataclass(frozen=True)
class FoundRelease:
    """A release that somebody named.

    Attributes:
        record: The record, from the workspace or from the folder.
        digest: Its digest.
        folder: Where it lies; it is there.
        is_recorded: Whether the workspace has its record, and so the run that it came from.
    """

    record: Release
    digest: str
    folder: Path
    is_recorded: bool = True


def find_release(workspace: Workspace, text: str) -> FoundRelease:
    """Find one release; a name alone means its newest.

    Args:
        workspace: Where it was made.
        text: As a person wrote it, with or without ``release:``.

    Raises:
        RecipeError: E-DEP-007 for what names no release, or more than one.
        StoreError: E-DEP-009 when the record is there and the folder is not.
    """
    wanted = text.removeprefix("release:")
    path = Path(wanted)
    if is_release_folder(path):
        return _read_folder(path, workspace)
    records = list_releases(workspace)
    found = _match(wanted, records)
    if len(found) != 1:
        raise _unknown(text, found, records)
    release = found[0]
    folder = workspace.folder / RELEASES_NAME / release.digest
    if not folder.is_dir():
        raise StoreError(
            "E-DEP-009",
            f"the folder of release {release.identity.name}@{release.digest[:SHOWN_DIGITS]} is missing",
            got="no folder",
            origin=str(folder),
            allowed="the folder as it was made",
            fix="luthier run RECIPE",
        )
    return FoundRelease(release, release.digest, folder)


def list_releases(workspace: Workspace) -> list[Release]:
    """List every release of a workspace, newest first."""
    if not workspace.folder.is_dir():
        return []
    records = (workspace.records.get(entry.digest) for entry in workspace.records.entries(kind=Release.KIND))
    return [record for record in records if isinstance(record, Release)]


def list_newest(workspace: Workspace) -> list[Release]:
    """List the newest release of each name, newest first: what ``serve`` serves where nothing is named."""
    newest: dict[str, Release] = {}
    for release in list_releases(workspace):
        newest.setdefault(release.identity.name, release)
    return list(newest.values())


def find_recorded_manifest(workspace: Workspace, digest: str) -> str:
    """Return the sha256 of a release's manifest as the audit log has it; empty where it knows none."""
    if not workspace.folder.is_dir():
        return ""
    made = [entry for entry in workspace.audit.entries(action=MADE) if entry.facts.get("release") == digest]
    return str(made[-1].facts.get("manifest", "")) if made else ""


def _match(wanted: str, records: list[Release]) -> list[Release]:
    """Return what a text names: by name its newest, by digest all that begin so."""
    name, at, prefix = wanted.rpartition("@")
    if at:
        return [one for one in _match_digest(prefix, records) if one.identity.name == name]
    named = [one for one in records if one.identity.name == wanted]
    return named[:1] or _match_digest(wanted, records)


def _match_digest(prefix: str, records: list[Release]) -> list[Release]:
    if len(prefix) < SHORTEST_DIGEST or not re.fullmatch(r"[0-9a-f]+", prefix):
        return []
    return [one for one in records if one.digest.startswith(prefix)]


def is_release_folder(path: Path) -> bool:
    """Say whether a path is a folder that holds a release."""
    try:
        return (path / RELEASE_NAME).is_file()
    except OSError:  # a text that is no path
        return False


def _read_folder(folder: Path, workspace: Workspace) -> FoundRelease:
    """Read a release that was copied from somewhere; its own digest says whether the identity is whole."""
    try:
        shown: dict[str, Any] = json.loads((folder / RELEASE_NAME).read_bytes())
        hashed = {name: shown[name] for name in ("kind", "schema_version", "identity")}
        identity = ReleaseIdentity.model_validate(shown["identity"])
        witness = ReleaseWitness.model_validate_json((folder / WITNESS_NAME).read_bytes())
        digest = sha256_json(hashed)
        is_whole = digest == shown["digest"]
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise _unreadable(folder, f"{type(error).__name__} in {RELEASE_NAME} or {WITNESS_NAME}") from error
    is_digest = re.fullmatch(r"[0-9a-f]{64}", folder.absolute().name)
    if not is_whole or (is_digest and folder.absolute().name != digest):
        raise _unreadable(folder, f"{RELEASE_NAME} does not have the digest that it or its folder names")
    record = Release(identity=identity, witness=witness.model_copy(update={"folder": str(folder.absolute())}))
    is_recorded = workspace.folder.is_dir() and any(one.digest == digest for one in list_releases(workspace))
    return FoundRelease(record, digest, folder.absolute(), is_recorded=is_recorded)


def _unreadable(folder: Path, got: str) -> RecipeError:
    return RecipeError(
        "E-DEP-007",
        "the folder is no whole release",
        got=got,
        origin=str(folder),
        allowed="a folder as `luthier run` leaves it below .luthier/releases",
        fix="luthier release list",
    )


def _unknown(text: str, found: list[Release], records: list[Release]) -> RecipeError:
    several = ", ".join(f"{one.identity.name}@{one.digest[:SHOWN_DIGITS]}" for one in found[:SHOWN_NAMES])
    names = list(dict.fromkeys(one.identity.name for one in records))
    allowed = several or ", ".join(names[:SHOWN_NAMES]) or "none: the workspace holds no release yet"
    return RecipeError(
        "E-DEP-007",
        f"{text!r} names more than one release" if several else f"there is no release {text!r}",
        got=text,
        allowed=allowed,
        fix="luthier release list",
    )
