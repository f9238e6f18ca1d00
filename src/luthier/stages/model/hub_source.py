"""Models of the hub: safetensors, configuration and tokenizer of one commit; no pickle, no code, by no way."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from luthier.foundation.core.errors import ModelError
from luthier.foundation.core.model_files import is_pickle
from luthier.foundation.core.progress import Progress
from luthier.instruments.remote.clients.hub import Hub, HubFile, HubModel, open_hub
from luthier.stages.model.cache import Origin, check_space
from luthier.stages.model.catalogue import CatalogueEntry, HubSource
from luthier.stages.model.folder import WEIGHTS_NAME, check_safe, find_kind, is_model_file, read_shape

HUB_ID: Final = re.compile(r"(?P<repository>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>\w[\w./-]*))?", re.A)
LONGEST_ID: Final = 200
SPARE_BYTES: Final = 64 << 20


def parse_hub_id(name: str) -> HubSource | None:
    """Read ``ORGANISATION/NAME[@REVISION]``; None for what cannot be one."""
    match = HUB_ID.fullmatch(name)
    if match is None or len(name) > LONGEST_ID or "--" in match["repository"] or ".." in name:
        return None
    return HubSource(repository=match["repository"], revision=match["revision"] or "main")


def bring_hub(
    name: str,
    source: HubSource,
    work: Path,
    *,
    entry: CatalogueEntry | None,
    environment: Mapping[str, str],
    progress: Progress,
) -> Origin:
    """Bring a repository's model into ``work/model``; files that an earlier call brought are kept if they are whole.

    Args:
        name: What the model is called here.
        source: Repository and revision.
        work: A folder; what an interrupted call left in it is used.
        entry: The catalogue's, which knows the licence; None for an id of the hub.
        environment: ``HF_ENDPOINT``, ``HF_TOKEN``, ``HF_HUB_OFFLINE``.
        progress: Told about the download.

    Raises:
        ModelError: E-MOD-004 for an unknown id, E-MOD-001 and E-MOD-002 for what is unsafe or no model, E-MOD-006 when
            what came is not what the hub states.
        EnvironmentLacks: E-ENV-004 and E-ENV-007 where the hub is out of reach or wants a token.
        StoreError: E-ENV-003 without enough disk.
    """
    with open_hub(environment) as hub:
        model = hub.describe(source.repository, source.revision)
        files = choose_files(model)
        licence = entry.licence if entry is not None else model.licence
        total = sum(file.num_bytes for file in files)
        progress.say(
            f"pulling {source.repository} at {model.commit[:12]} ({licence or 'no licence stated'}): "
            f"{len(files)} files, {total / 1e6:.0f} MB from {hub.endpoint}"
        )
        check_space(work, name, total + SPARE_BYTES)
        _download(hub, model, files, work, progress)
    folder = work / "model"
    check_safe(folder)
    read_shape(folder)
    return Origin(
        name=name,
        kind=find_kind(folder),
        licence=licence,
        repository=source.repository,
        revision=source.revision,
        commit=model.commit,
    )


def choose_files(model: HubModel) -> tuple[HubFile, ...]:
    """Choose the files that make the model; every other file of the repository stays where it is.

    Raises:
        ModelError: E-MOD-001 where the weights are pickles only, E-MOD-002 where there are none or no configuration.
    """
    files = tuple(file for file in model.files if is_model_file(file.name))
    names = {file.name for file in files}
    pickles = [file.name for file in model.files if is_pickle(Path(file.name))]
    has_weights = any(WEIGHTS_NAME.fullmatch(name) for name in names)
    if has_weights and "config.json" in names:
        return files
    held = ", ".join(file.name for file in model.files[:8]) or "nothing"
    if pickles and not has_weights:
        raise ModelError(
            "E-MOD-001",
            "the repository holds its weights as pickles only, which can run code when they are read",
            got=", ".join(pickles[:4]),
            origin=f"{model.repository} at {model.commit}",
            allowed="weights as model.safetensors",
            fix="choose a revision or a repository with safetensors",
        )
    raise ModelError(
        "E-MOD-002",
        "the repository holds no model: " + ("config.json is missing" if has_weights else "no safetensors weights"),
        got=held,
        origin=f"{model.repository} at {model.commit}",
        allowed="config.json and model.safetensors, or its numbered parts",
        fix="choose another repository; of an adapter, pull the base that its adapter_config.json names",
    )


def _download(hub: Hub, model: HubModel, files: tuple[HubFile, ...], work: Path, progress: Progress) -> None:
    folder, parts = work / "model", work / f"parts-{model.commit}"
    parts.mkdir(exist_ok=True)
    wanted = {file.name for file in files}
    for left in [path for path in folder.rglob("*") if path.is_file()]:
        if left.relative_to(folder).as_posix() not in wanted:
            left.unlink()
    with progress.task("download", total=float(sum(file.num_bytes for file in files)), unit="B") as bar:
        for file in files:
            place = folder / file.name
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.is_file() and file.is_at(place):
                bar.advance(file.num_bytes)
                continue
            part = parts / file.name.replace("/", "--")
            if part.is_file():
                bar.advance(part.stat().st_size)
            hub.download(model, file, part, on_bytes=lambda count: bar.advance(count))
            part.replace(place)
