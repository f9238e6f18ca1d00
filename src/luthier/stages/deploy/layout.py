"""The names of a release's files, and how its JSON is written; light, so that a release is checked without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from luthier.foundation.core.hashing import canonical_json, sha256_file
from luthier.foundation.schema.noun import Record

RELEASE_NAME: Final = "release.json"
WITNESS_NAME: Final = "witness.json"
SIGNATURE_NAME: Final = "signature.json"
CERTIFICATE_NAME: Final = "certificate.json"
REFERENCE_NAME: Final = "reference.json"
PAGE_NAME: Final = "report.html"
RECIPE_NAME: Final = "recipe.yaml"
WITNESS_NAMES: Final = frozenset({RELEASE_NAME, WITNESS_NAME, SIGNATURE_NAME, PAGE_NAME, RECIPE_NAME})


def list_digests(folder: Path) -> dict[str, str]:
    """Return the sha256 of every file below a folder, by its path there."""
    return {
        path.relative_to(folder).as_posix(): sha256_file(path) for path in sorted(folder.rglob("*")) if path.is_file()
    }


def show_identity(record: Record[Any, Any]) -> dict[str, Any]:
    """Return a record without its witness, as its digest sees it."""
    return {
        "kind": record.KIND,
        "schema_version": record.SCHEMA_VERSION,
        "digest": record.digest,
        "identity": record.identity.model_dump(mode="json"),
    }


def to_bytes(value: dict[str, Any]) -> bytes:
    """Write JSON that a person can read; the same value always gives the same bytes."""
    canonical = json.loads(canonical_json(value))
    return (json.dumps(canonical, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()
