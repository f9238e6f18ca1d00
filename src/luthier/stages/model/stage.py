"""Stage 2: find the base, refuse what is unsafe or not allowed, and record what it is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from luthier.foundation.core.errors import LicenceError, ModelError
from luthier.foundation.core.model_files import compute_weights_digest
from luthier.foundation.core.progress import Progress, SilentProgress
from luthier.foundation.recipe.paths import expand_variables
from luthier.foundation.schema.model import LicenceVerdict, ModelChoice, ModelIdentity, ModelWitness
from luthier.foundation.schema.protocols import AnyRecord, Context
from luthier.foundation.schema.sections import GovernSection, ModelSection
from luthier.instruments.govern.licences import judge_licence
from luthier.instruments.text.tokens import load_tokenizer
from luthier.instruments.text.tool_templates import choose_tool_template
from luthier.stages.model.cache import find_cache, find_cached, open_cached, read_origin
from luthier.stages.model.catalogue import CATALOGUE
from luthier.stages.model.folder import check_safe, check_writes, read_shape
from luthier.stages.model.gguf_file import find_gguf
from luthier.stages.model.pull import convert_once, find_source

VERSION: Final = 1
READS: Final = ("govern",)


def locate_base(
    base: str, *, base_folder: Path, environment: Mapping[str, str], progress: Progress | None = None
) -> Path:
    """Return the folder of a base: a path, a name from the cache, or a GGUF file's conversion. Nothing is fetched.

    Args:
        base: ``model.base`` as written.
        base_folder: Where relative paths start.
        environment: For ``${VAR}`` and the cache's place.
        progress: Told of the conversion of a GGUF file, which is done once.

    Raises:
        EnvironmentLacks: E-ENV-005 when it was not pulled, E-ENV-002 for an unset variable.
        ModelError: E-MOD-004 for what is neither a name nor a path, E-MOD-003 for a GGUF file that is not converted.
    """
    cache = find_cache(environment)
    if base in CATALOGUE:
        return open_cached(base, cache=cache)
    path = base_folder / expand_variables(base, environment, field="model.base")
    gguf = find_gguf(path)
    if gguf is not None:
        return convert_once(gguf, cache=cache, progress=progress or SilentProgress())
    if path.is_dir():
        return path
    if find_cached(base, cache=cache) is None:
        find_source(base)
    return open_cached(base, cache=cache)


def fingerprint(section: ModelSection, ctx: Context) -> dict[str, Any]:
    """Replace the base's path by the digest of its files, so that a key sees content only."""
    folder = _locate(section, ctx)
    return {"base": {"name": _name_base(section.base, folder), "weights": compute_weights_digest(folder)}}


def refresh(record: ModelChoice, section: ModelSection, ctx: Context) -> ModelChoice:
    """Point a reused record at where the files lie today."""
    folder = _locate(section, ctx)
    return record.model_copy(update={"witness": record.witness.model_copy(update={"path": str(folder.resolve())})})


def _locate(section: ModelSection, ctx: Context) -> Path:
    return locate_base(section.base, base_folder=ctx.base_folder, environment=os.environ, progress=ctx.progress)


def run(section: ModelSection, inputs: Mapping[str, AnyRecord], ctx: Context) -> ModelChoice:  # noqa: ARG001  stage shape
    """Choose the base.

    Raises:
        ModelError: for a folder that is unsafe, incomplete or unknown.
        LicenceError: E-MOD-007 or E-MOD-008 when the licence does not allow the declared use.
    """
    began = ctx.clock.monotonic()
    folder = _locate(section, ctx)
    check_safe(folder)
    check_writes(folder)
    govern = ctx.section("govern")
    if not isinstance(govern, GovernSection):
        raise TypeError(type(govern))
    licence = check_licence(section, folder, use=govern.use)
    tokenizer = load_tokenizer(folder)
    if tokenizer.chat_template is None:
        raise ModelError(
            "E-MOD-009",
            "the base has no chat template, so nobody can say how a conversation is written for it",
            got="no chat_template.jinja and none in tokenizer_config.json",
            origin=str(folder),
            allowed="an instruction-tuned base",
            fix="add chat_template.jinja to the folder",
        )
    name, template = choose_tool_template(tokenizer.chat_template, name=section.tool_template)
    shape = read_shape(folder)
    return ModelChoice(
        identity=ModelIdentity(
            name=_name_base(section.base, folder),
            weights=compute_weights_digest(folder),
            shape=shape,
            licence=licence,
            chat_template=ctx.blobs.put(template.encode()),
            tool_template=name,
            end_token=tokenizer.end_token,
            quantise=section.quantise,
        ),
        witness=ModelWitness(
            path=str(folder.resolve()),
            origin=_describe_origin(folder),
            memory_bytes=4 * shape.num_parameters,
            seconds=ctx.clock.monotonic() - began,
        ),
    )


def check_licence(section: ModelSection, folder: Path, *, use: str) -> LicenceVerdict:
    """Judge the declared use by the base's licence.

    Args:
        section: Its ``license`` states what a folder's licence is; it overrides nothing of the catalogue.
        folder: The base's files; in the cache they know what hub or GGUF file say of the licence.
        use: ``govern.use``.

    Raises:
        LicenceError: E-MOD-007 where it is denied, E-MOD-008 where no licence is known.
    """
    verdict = judge_licence(find_licence(section.base, folder, stated=section.license), use=use)
    if verdict.verdict == "denied":
        raise LicenceError(
            "E-MOD-007",
            f"the licence {verdict.licence} does not allow {use} use",
            got=verdict.reason,
            origin=f"{verdict.source}, read {verdict.checked_on}",
            allowed="a base whose licence allows it, or another declared use",
            fix="--set govern.use=research",
            field="govern.use",
        )
    if verdict.verdict == "unknown" and use == "commercial":
        raise LicenceError(
            "E-MOD-008",
            "no licence is known for this base",
            got=verdict.reason,
            allowed="an SPDX identifier of the licence table, or LicenseRef-own for your own model",
            fix="--set model.license=LicenseRef-own",
            field="model.license",
        )
    return verdict


def find_licence(base: str, folder: Path, *, stated: str | None) -> str:
    """Return a base's licence: the catalogue's, else what is stated, else what its source says; empty for none."""
    if base in CATALOGUE:
        return CATALOGUE[base].licence
    origin = read_origin(folder)
    if origin is not None and origin.name in CATALOGUE:
        return CATALOGUE[origin.name].licence
    return stated or (origin.licence if origin is not None else "")


def _name_base(base: str, folder: Path) -> str:
    """Name a base so that the name alone finds it again where it lies in the cache."""
    origin = read_origin(folder)
    return base if base in CATALOGUE else origin.name if origin is not None else folder.name


def _describe_origin(folder: Path) -> str:
    origin = read_origin(folder)
    return origin.describe() if origin is not None else "a local folder"
