"""Release: what may be served, proven to be what was trained."""

from __future__ import annotations

from typing import ClassVar, Literal

from luthier.foundation.core.hashing import Digest
from luthier.foundation.schema.noun import Identity, Noun, Record, Witness
from luthier.foundation.schema.report import Verdict


class CertificateStep(Noun):
    """One comparison of the parity certificate: the rendered text, or one way of computing the same model.

    Attributes:
        step: ``rendered``, ``adapter``, ``merged``, an export's name, or ``server``.
        contract: What had to hold, in words with its numbers.
        is_within: Whether it held.
        num_probes: Probes that were compared.
        num_tokens: Scored tokens that were compared.
        reason: What broke it; empty where it held.
    """

    step: str
    contract: str
    is_within: bool
    num_probes: int
    num_tokens: int
    reason: str = ""


class Certificate(Noun):
    """Proof that what is served is what was trained; without measured numbers, which stand in the witness.

    Attributes:
        verdict: PASS where every step is within its contract.
        broken_step: The first step beyond it; empty on PASS.
        num_asked: Probes that the plan asked for.
        num_probes: Probes that there were.
    """

    verdict: Literal["PASS", "FAIL"]
    broken_step: str = ""
    num_asked: int
    num_probes: int
    probes: Digest
    steps: tuple[CertificateStep, ...]


class MeasuredStep(Noun):
    """What one step of the certificate measured.

    Attributes:
        num_tokens: Tokens whose log-probabilities were compared; for the server those of its answers.
        top1_agreement: Share of the decided places with the same best token.
        num_decided: Places where the two best tokens lie further apart than the contract's gap.

    Units:
        Log-probabilities in nats a token.
    """

    step: str
    num_tokens: int = 0
    max_delta: float
    mean_delta: float
    top1_agreement: float
    num_decided: int


class ReleaseIdentity(Identity):
    """What was released.

    Attributes:
        name: The recipe's name.
        base: Catalogue name or folder name of the base.
        base_digest: Digest of the base's weights.
        exports: Names of the exports, each a folder of the release.
        files: sha256 of every identity file by its path below the release's folder.
        verdict: The Report's.
        override: Why a verdict other than PASS was released all the same; empty where it was PASS.
    """

    name: str
    base: str
    base_digest: Digest
    exports: tuple[str, ...]
    files: dict[str, Digest]
    certificate: Certificate
    verdict: Verdict
    override: str = ""


class ReleaseWitness(Witness):
    """When and where it was made, what was measured, who signed.

    Attributes:
        folder: ``.luthier/releases/<digest>``.
        files: sha256 of every witness file by its path below the folder, such as the report's page.
        audit_head: Hash of the newest audit entry when it was made.
        noise_floor: Greatest difference of packed against single scoring, nats.
        signature: ``sha256 manifest`` or the name of the signing scheme.
        approvals: Who approved or overrode, as they declared themselves.
    """

    folder: str
    files: dict[str, Digest] = {}
    created: str = ""
    seconds: float = 0.0
    audit_head: str = ""
    measured: tuple[MeasuredStep, ...] = ()
    noise_floor: float = 0.0
    signature: str = ""
    approvals: tuple[str, ...] = ()


class Release(Record[ReleaseIdentity, ReleaseWitness]):
    """Stage 6's record."""

    KIND: ClassVar[str] = "release"
