"""Models that answer live, by reference: what ``serve`` puts behind HTTP and ``chat`` talks to."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from luthier.foundation.core.errors import EnvironmentLacks, LuthierError, RecipeError
from luthier.foundation.schema.release import Release
from luthier.foundation.schema.serving import ChatRuntime
from luthier.foundation.store.workspace import Workspace

if TYPE_CHECKING:
    from luthier.instruments.engine.serving.sources import ServedSource
    from luthier.lifecycle.references import Reference

SERVED: Final = "release.served"


@dataclass(frozen=True, slots=True)
class Serving:
    """How models are served.

    Attributes:
        precision: What weights are held in.
        max_queue: Most requests that wait.
        max_rows: Most answers computed together on one base.
        max_cache_tokens: Most tokens that the answers of one base may come to together, prompts included.
    """

    precision: Literal["fp32", "bf16"] = "fp32"
    max_queue: int = 64
    max_rows: int = 32
    max_cache_tokens: int = 32_768


def open_runtime(refs: Sequence[str], *, workspace: Path, serving: Serving | None = None) -> ChatRuntime:
    """Load what references name, each base once, and start to answer; close it when done.

    Args:
        refs: As a person wrote them; none for the newest release of each name.
        workspace: The folder that holds ``.luthier``.
        serving: Precision and bounds.

    Raises:
        RecipeError: E-LIF-007 for a reference that names nothing, E-SRV-008 for two of one name, E-SRV-009 when there
            is nothing to serve.
        ModelError: When a model cannot be loaded or an adapter was trained on another base.
        StoreError: When the audit log cannot be told that a release is served.
    """
    from luthier.instruments.engine.serving.runtime import RuntimeOptions, TorchChatRuntime

    wanted = serving or Serving()
    options = RuntimeOptions(**dataclasses.asdict(wanted))
    sources = find_sources(refs, workspace=workspace)
    runtime = TorchChatRuntime(sources, options)
    try:
        _note_served(sources, Workspace.open(workspace))
    except LuthierError:
        runtime.close(drain_seconds=0)
        raise
    return runtime


def find_sources(refs: Sequence[str], *, workspace: Path) -> list[ServedSource]:
    """Return the files of every reference and the name that requests ask for it by.

    A release is asked for by its name, and by NAME@DIGEST where it was named so; a run by ``run:ID``, a folder by its
    own name, a base by the catalogue's.

    Raises:
        LuthierError: As :func:`open_runtime`.
    """
    from luthier.api.generate import locate_base
    from luthier.lifecycle.references import resolve_reference
    from luthier.lifecycle.releases import list_newest

    store = Workspace.open(workspace)
    wanted = list(refs) or [f"release:{release.identity.name}" for release in list_newest(store)]
    if not wanted:
        raise RecipeError(
            "E-SRV-009",
            "there is nothing to serve: no reference was given and the workspace has no release",
            got="no REF",
            origin=str(store.root),
            allowed="base, run:ID, release:NAME, or a path",
            fix="luthier serve base",
        )
    sources: dict[str, ServedSource] = {}
    for ref in wanted:
        source = _find_source(resolve_reference(ref, workspace=store, locate=locate_base), store)
        if source.name in sources:
            raise RecipeError(
                "E-SRV-008",
                f"two references would be served as {source.name!r}",
                got=f"{sources[source.name].ref} and {ref}",
                allowed="one reference a name",
                fix="leave one out",
            )
        sources[source.name] = source
    return list(sources.values())


def read_keys(variable: str | None, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the keys that an environment variable holds, separated by commas; none where no variable is named.

    Raises:
        EnvironmentLacks: E-SRV-010 when it is not set or empty.
    """
    if variable is None:
        return ()
    keys = tuple(key.strip() for key in environment.get(variable, "").split(",") if key.strip())
    if not keys:
        raise EnvironmentLacks(
            "E-SRV-010",
            f"the environment variable {variable!r} holds no key",
            got="empty" if variable in environment else "not set",
            allowed="one key, or several separated by commas",
            fix=f'export {variable}="$(openssl rand -hex 32)"',
            field="api_key_env",
        )
    return keys


def _note_served(sources: Sequence[ServedSource], store: Workspace) -> None:
    """Tell the audit log which of its releases are served from now on."""
    releases = {entry.digest for entry in store.records.entries(kind=Release.KIND)}
    for source in sources:
        if source.digest in releases:
            store.audit.append(SERVED, {"release": source.digest, "name": source.name})


def _find_source(reference: Reference, store: Workspace) -> ServedSource:
    from luthier.api.generate import open_files
    from luthier.foundation.core.hashing import sha256_file, sha256_json
    from luthier.foundation.core.model_files import compute_weights_digest
    from luthier.instruments.engine.serving.sources import ServedSource

    files = open_files(reference, store)
    tuned = files.tuned
    base_digest = tuned.base_digest if tuned else compute_weights_digest(files.base_folder)
    folder = tuned.folder if tuned else files.base_folder
    digest = reference.record or base_digest
    if tuned and not reference.record:
        digest = sha256_json({path.name: sha256_file(path) for path in sorted(folder.iterdir()) if path.is_file()})
    return ServedSource(
        name=_name(reference),
        ref=reference.ref,
        digest=digest,
        base=reference.base,
        base_folder=files.base_folder,
        base_digest=base_digest,
        method=tuned.method if tuned else "",
        trained_folder=tuned.folder if tuned else None,
        chat_template=files.chat_template,
        created=int(folder.stat().st_mtime),
    )


def _name(reference: Reference) -> str:
    if reference.ref == "base":
        return reference.base
    if reference.name and not ("@" in reference.ref and reference.ref.startswith("release:")):
        return reference.name  # by digest or path; two of one name are told apart by release:NAME@DIGEST
    if reference.kind == "gguf":
        return Path(reference.base).stem
    if Path(reference.ref).is_dir():
        return Path(reference.ref).resolve().name
    return reference.ref.removeprefix("release:")
