"""The cache key: what an execution depends on, and nothing else. Paths and ``${VAR}`` never enter it, only content.

Key = sha256 of the canonical JSON of: the stage and its VERSION, the sections that it reads (paths replaced by
digests, as the stage's ``fingerprint`` says), the VERSION of every plug-in that these name, the digests of its
inputs, the seed; for a stage behind a door also who approved what it looks at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from luthier.foundation.core.hashing import sha256_json
from luthier.foundation.recipe.choices import NAME_FIELDS, OPTION_FAMILIES, PLUGIN_FIELDS
from luthier.foundation.registry import get_rows, load_config
from luthier.foundation.schema.noun import Noun
from luthier.foundation.schema.plugins import PluginConfig

ConfigLoader = Callable[[str, str], type[PluginConfig]]

FAMILIES: Final = {field.path: field.family for field in (*PLUGIN_FIELDS, *NAME_FIELDS)}


@dataclass(frozen=True)
class KeyParts:
    """What a key is made of.

    Attributes:
        sections: Each section that the stage reads as JSON, fingerprints applied, by name.
        inputs: Digest of each input by name.
        approvals: Who approved the record at the door before the stage, and why; None where there is no door.
    """

    stage: str
    version: int
    sections: Mapping[str, Mapping[str, Any]]
    inputs: Mapping[str, str]
    seed: int
    approvals: Sequence[Mapping[str, Any]] | None = None


def compute_cache_key(parts: KeyParts, *, load: ConfigLoader = load_config) -> str:
    """Return the key of an execution.

    Args:
        parts: What the execution depends on.
        load: Gives a plug-in's config half, for its VERSION and the defaults of its options.
    """
    sections: dict[str, Any] = {}
    versions: dict[str, int] = {}
    for name, values in sorted(parts.sections.items()):
        sections[name] = {}
        for field, value in values.items():
            family = FAMILIES.get(f"{name}.{field}")
            sections[name][field] = value if family is None else _resolve(family, value, versions, load)
    return sha256_json(
        {
            "stage": parts.stage,
            "version": parts.version,
            "sections": sections,
            "plugins": versions,
            "inputs": dict(parts.inputs),
            "seed": parts.seed,
            **({} if parts.approvals is None else {"approvals": list(parts.approvals)}),
        }
    )


def apply_fingerprint(section: Noun, fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """Return a section as JSON with the fields that the stage replaced; None takes a field out.

    Args:
        section: As in the recipe.
        fingerprint: Values by top-level field.
    """
    merged = {**section.model_dump(mode="json"), **fingerprint}
    return {field: value for field, value in merged.items() if not (field in fingerprint and value is None)}


def _resolve(family: str, value: Any, versions: dict[str, int], load: ConfigLoader) -> Any:  # noqa: ANN401  JSON
    """Fill in the options of every plug-in that a field names, and note the plug-ins' versions."""
    if isinstance(value, list | tuple):
        return [_resolve(family, item, versions, load) for item in value]
    if isinstance(value, str):  # a bare name; words such as ``auto`` and ``default`` are no plug-ins
        if value in get_rows(family):
            versions[f"{family}/{value}"] = load(family, value).VERSION
        return value
    if not isinstance(value, Mapping) or "type" not in value:
        return value
    name, given = str(value["type"]), dict(value.get("options", {}))
    config_class = load(family, name)
    versions[f"{family}/{name}"] = config_class.VERSION
    options = config_class.model_validate(given).model_dump(mode="json")
    for inner_family, inner_name in _named_in_options(options):
        versions[f"{inner_family}/{inner_name}"] = load(inner_family, inner_name).VERSION
    return {"type": name, "options": options}


def _named_in_options(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for field, family in OPTION_FAMILIES.items():
        named = options.get(field)
        for item in named if isinstance(named, list) else []:
            name = item.get("type") if isinstance(item, Mapping) else item
            if isinstance(name, str) and name in get_rows(family):
                yield family, name
