"""What ``REF`` means: ``base | run:ID | release:NAME[@DIGEST] | PATH | http(s)://HOST/v1#MODEL``.

A reference names files and reads only their headers; it loads nothing. A run's weights stay in blobs until
:func:`lay_out` puts them into a folder that other tools read.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

from luthier.foundation.core.errors import ModelError, RecipeError
from luthier.foundation.core.files import find_damage, write_folder_atomic
from luthier.foundation.core.hashing import Digest
from luthier.foundation.schema.model import ModelChoice
from luthier.foundation.schema.noun import Noun
from luthier.foundation.schema.run import Run
from luthier.foundation.store.workspace import Workspace
from luthier.lifecycle.addresses import refuse_address
from luthier.lifecycle.releases import find_recorded_manifest, find_release, is_release_folder

DEFAULT_BASE: Final = "smollm2-135m-instruct"
BASE_DIGEST_KEY: Final = "luthier_base_digest"
RUN_ID_DIGITS: Final = 12
SHORTEST_RUN_ID: Final = 4
MAX_HEADER_BYTES: Final = 100_000_000
UNSAFE_SUFFIXES: Final = (".bin", ".pt", ".pth", ".pkl", ".ckpt")

Locate = Callable[[str], Path]


class Reference(Noun):
    """A model that a person named.

    Attributes:
        ref: As it was written.
        kind: ``base`` or a ``model`` folder stand alone; ``run`` and ``adapter`` stand on a base; ``gguf`` is a file.
        base: Name or path of the base, as ``model.base`` of a recipe takes it.
        base_folder: Where the base lies; for ``model`` the thing itself, for ``gguf`` its conversion in the cache.
        base_digest: Digest of the base's weights, where it is known without reading them.
        method: How the files change the base, such as ``lora``; empty where there is nothing to put on it.
        files: Trained files by name; for a run they are blobs, so use :func:`lay_out` where names matter.
        record: Digest of the Run, or of the Release.
        model: Digest of the Run's ModelChoice, which knows the chat template.
        name: A release's name; empty for anything else.
    """

    ref: str
    kind: Literal["base", "run", "model", "adapter", "gguf"]
    base: str
    base_folder: Path
    base_digest: Digest | None = None
    method: str = ""
    files: dict[str, Path] = {}  # noqa: RUF012  pydantic copies defaults
    record: Digest | None = None
    model: Digest | None = None
    name: str = ""


def resolve_pair(first: str, second: str, *, workspace: Workspace, locate: Locate) -> tuple[Reference, Reference]:
    """Resolve two references that are compared; ``base`` is the other one's base.

    Raises:
        LuthierError: As :func:`resolve_reference`.
    """
    if first == "base" and second != "base":
        right = resolve_reference(second, workspace=workspace, locate=locate)
        return _base_of(right), right
    left = resolve_reference(first, workspace=workspace, locate=locate)
    if second == "base":
        return left, _base_of(left)
    return left, resolve_reference(second, workspace=workspace, locate=locate)


def resolve_reference(ref: str, *, workspace: Workspace, locate: Locate) -> Reference:
    """Find what one reference names.

    Args:
        ref: As a person wrote it; relative paths start at the current folder.
        workspace: Where runs lie.
        locate: Returns the folder of a base by catalogue name or path.

    Raises:
        RecipeError: E-LIF-007 for what names nothing, E-DEP-007 for an unknown release, E-LIF-011 for an address,
            which has no files; see ``addresses.py``.
        ModelError: E-LIF-008 for a path that holds no model.
        PolicyDenied: E-DEP-008 for a release of which a byte was changed.
    """
    if ref == "base":
        return Reference(ref=ref, kind="base", base=DEFAULT_BASE, base_folder=locate(DEFAULT_BASE))
    refuse_address(ref)
    if ref.startswith("run:"):
        return _resolve_run(ref, workspace, locate)
    if ref.startswith("release:") or is_release_folder(Path(ref)):
        return _resolve_release(ref, workspace, locate)
    return _resolve_path(ref, workspace, locate)


def lay_out(reference: Reference, workspace: Workspace) -> Path | None:
    """Return a folder that holds the reference's trained files by their names, as other tools want them.

    Returns:
        The adapter's own folder, or one below ``.luthier/work`` that is made once and verified on every call;
        None where the reference is a base alone.
    """
    if not reference.files:
        return None
    if reference.kind != "run":
        return next(iter(reference.files.values())).parent
    target = workspace.folder / "work" / f"files-{str(reference.record)[:RUN_ID_DIGITS]}"
    if target.is_dir() and find_damage(target) is None:
        return target
    if target.is_dir():
        _remove(target)

    def fill(folder: Path) -> None:
        for name, path in reference.files.items():
            place = folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            workspace.fs.write(place, path.read_bytes())

    target.parent.mkdir(parents=True, exist_ok=True)
    write_folder_atomic(target, fill, fs=workspace.fs)
    return target


def _base_of(reference: Reference) -> Reference:
    return Reference(
        ref="base",
        kind="base",
        base=reference.base,
        base_folder=reference.base_folder,
        base_digest=reference.base_digest,
        model=reference.model,
    )


def _resolve_run(ref: str, workspace: Workspace, locate: Locate) -> Reference:
    wanted = ref.removeprefix("run:")
    found = []
    if len(wanted) >= SHORTEST_RUN_ID and re.fullmatch(r"[0-9a-f]+", wanted):
        found = [run for run in workspace.executions.find(wanted, stage="train") if run.state == "done" and run.record]
    if len(found) != 1 or found[0].record is None:
        several = ", ".join(run.cache_key[:RUN_ID_DIGITS] for run in found)
        raise RecipeError(
            "E-LIF-007",
            f"{ref!r} names more than one finished run" if several else f"there is no finished run {wanted!r}",
            got=ref,
            allowed=several or f"run: and the first {SHORTEST_RUN_ID} to {RUN_ID_DIGITS} digits of a finished run's ID",
            fix="luthier runs",
        )
    run = workspace.records.get(found[0].record)
    if not isinstance(run, Run):
        raise TypeError(type(run))
    model = workspace.records.get(run.identity.parents["model"])
    if not isinstance(model, ModelChoice):
        raise TypeError(type(model))
    folder = Path(model.witness.path)
    return Reference(
        ref=ref,
        kind="run",
        base=model.identity.name,
        base_folder=folder if folder.is_dir() else locate(model.identity.name),
        base_digest=model.identity.weights,
        method=str(run.identity.method.get("type", "")),
        files={name: workspace.blobs.path(digest) for name, digest in run.identity.files.items()},
        record=found[0].record,
        model=run.identity.parents["model"],
    )


def _resolve_path(ref: str, workspace: Workspace, locate: Locate) -> Reference:
    from luthier.stages.model.gguf_file import find_gguf
    from luthier.stages.model.hub_source import parse_hub_id

    path = _expand(ref)
    try:
        is_file, is_folder, is_there = path.is_file(), path.is_dir(), path.exists()
    except OSError as error:  # such as a name that is too long for any file
        raise _not_a_model(ref, str(error.strerror)) from error
    if is_file and path.suffix == ".gguf":
        return Reference(ref=ref, kind="gguf", base=str(path), base_folder=locate(str(path)))
    if not is_folder:
        if (re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.@-]*", ref) or parse_hub_id(ref)) and not is_there:
            return _resolve_name(ref, locate)
        raise _not_a_model(ref, "no such folder or GGUF file")
    if (path / "adapter_config.json").is_file():
        return _resolve_adapter(ref, path, workspace, locate)
    if find_gguf(path) is not None:
        return Reference(ref=ref, kind="gguf", base=str(path), base_folder=locate(str(path)))
    weights = [file.name for file in path.glob("*.safetensors")]
    if not (path / "config.json").is_file() or not weights:
        unsafe = sorted(file.name for file in path.iterdir() if file.suffix in UNSAFE_SUFFIXES)
        raise _not_a_model(ref, f"pickles such as {unsafe[0]}" if unsafe else "no config.json with safetensors")
    return Reference(ref=ref, kind="model", base=str(path), base_folder=path)


def _expand(ref: str) -> Path:
    try:
        return Path(ref).expanduser()
    except RuntimeError:  # "~nobody": as it stands it may still be a folder's name
        return Path(ref)


def _resolve_name(ref: str, locate: Locate) -> Reference:
    """A word that is no path may be a base of the catalogue, or one of the hub that was pulled."""
    try:
        return Reference(ref=ref, kind="base", base=ref, base_folder=locate(ref))
    except ModelError as error:
        raise RecipeError(
            "E-LIF-007",
            f"{ref!r} names no model",
            got=ref,
            allowed="base, run:ID, a base of `luthier model list`, or the path of a model, an adapter or a GGUF file",
            fix="luthier runs",
        ) from error


def _resolve_adapter(ref: str, path: Path, workspace: Workspace, locate: Locate) -> Reference:
    weights = path / "adapter_model.safetensors"
    if not weights.is_file():
        raise _not_a_model(ref, "an adapter without adapter_model.safetensors")
    config = _read_json(path / "adapter_config.json", ref)
    base = str(config.get("base_model_name_or_path") or "")
    if not base:
        raise _not_a_model(ref, "an adapter that does not name its base")
    digest = _read_metadata(weights, ref).get(BASE_DIGEST_KEY)
    return Reference(
        ref=ref,
        kind="adapter",
        base=base,
        base_folder=_locate_base(base, digest, workspace, locate),
        base_digest=digest,
        method=str(config.get("peft_type", "")).lower(),
        files={file.name: file for file in sorted(path.iterdir()) if file.is_file()},
    )


def _locate_base(base: str, digest: str | None, workspace: Workspace, locate: Locate) -> Path:
    """Return the folder of an adapter's base: where the workspace knows these very weights, else by its name."""
    if digest and workspace.folder.is_dir():
        for entry in workspace.records.entries(kind=ModelChoice.KIND):
            model = workspace.records.get(entry.digest)
            if isinstance(model, ModelChoice) and model.identity.weights == digest:
                folder = Path(model.witness.path)
                if folder.is_dir():
                    return folder
    return locate(base)


def _resolve_release(ref: str, workspace: Workspace, locate: Locate) -> Reference:
    """Take a release's adapter on its base, or its merged model where it has no adapter; every byte is checked."""
    from luthier.stages.deploy.verify import verify

    found = find_release(workspace, ref)
    verify(found.folder, found.digest, manifest=find_recorded_manifest(workspace, found.digest))
    identity = found.record.identity
    form = "adapter" if "adapter" in identity.exports else identity.exports[0]
    resolved = _resolve_path(str(found.folder / form), workspace, locate)
    changes = {
        "ref": ref,
        "base": identity.base if form == "adapter" else resolved.base,
        "name": identity.name,
        "model": identity.parents.get("model") if found.is_recorded else None,
        "record": found.digest,
    }
    return resolved.model_copy(update=changes)


def _read_json(path: Path, ref: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _not_a_model(ref, f"{path.name} that is not JSON") from error
    if not isinstance(value, dict):
        raise _not_a_model(ref, f"{path.name} that is not an object")
    return value


def _read_metadata(path: Path, ref: str) -> dict[str, str]:
    """Read a safetensors header: eight bytes of length, little-endian, then JSON."""
    with path.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else MAX_HEADER_BYTES + 1
        if length > min(MAX_HEADER_BYTES, path.stat().st_size):
            raise _not_a_model(ref, f"{path.name} cut short")
        try:
            header = json.loads(stream.read(length))
        except ValueError as error:
            raise _not_a_model(ref, f"{path.name} with a damaged header") from error
    metadata = header.get("__metadata__", {}) if isinstance(header, dict) else {}
    return {str(key): str(value) for key, value in metadata.items()}


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


def _not_a_model(ref: str, got: str) -> ModelError:
    return ModelError(
        "E-LIF-008",
        f"{ref!r} holds no model that can be used",
        got=got,
        origin=ref,
        allowed="a folder with config.json and safetensors, a PEFT adapter with safetensors, or a GGUF file",
        fix="luthier runs",
    )
