"""The release's folder: exports and papers in, one digest over what they are, and a witness of how they came about.

Identity files are what the digest covers: they are the same bytes whenever and wherever the release is made. Witness
files (``witness.json`` with times, measured differences, approvals and audit head; the report's page; the recipe, whose
paths are this machine's; ``release.json``, which holds the digest itself; the signature) are kept beside them and
verified too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from luthier.foundation.core.files import FileSystem, write_atomic
from luthier.foundation.schema.approval import Approval
from luthier.foundation.schema.dataset import DatasetVersion
from luthier.foundation.schema.model import ModelChoice
from luthier.foundation.schema.plan import Plan
from luthier.foundation.schema.release import Release, ReleaseIdentity, ReleaseWitness
from luthier.foundation.schema.report import Report
from luthier.foundation.schema.run import Run
from luthier.foundation.schema.sections import GovernSection
from luthier.instruments.govern.cards import CardFacts, render_card
from luthier.stages.deploy.certificate import Certified
from luthier.stages.deploy.layout import (
    CERTIFICATE_NAME,
    PAGE_NAME,
    RECIPE_NAME,
    REFERENCE_NAME,
    WITNESS_NAMES,
    list_digests,
    show_identity,
    to_bytes,
)
from luthier.stages.deploy.notices import write_notices


@dataclass(frozen=True)
class Given:
    """The records that a release is made of, and who approved them.

    Attributes:
        name: The recipe's.
        parents: Digests of everything it came from, by name.
        reference: What monitor compares live traffic with; None where there is none.
        recipe: The recipe as resolved when the run was made; None where its folder was swept.
    """

    name: str
    govern: GovernSection
    data: DatasetVersion
    model: ModelChoice
    plan: Plan
    run: Run
    report: Report
    approvals: tuple[Approval, ...]
    parents: Mapping[str, str]
    reference: bytes | None = None
    recipe: Path | None = None

    @property
    def override(self) -> str:
        """Who released in spite of the verdict, and why; empty where nobody had to."""
        given = [f"{one.by}: {one.reason}" for one in self.approvals if one.is_override]
        return "; ".join(given) if self.report.identity.verdict != "PASS" else ""


def write_papers(folder: Path, given: Given, certified: Certified, exports: tuple[str, ...], *, fs: FileSystem) -> None:
    """Write everything beside the exports that the digest covers, the report's page, and the recipe."""
    certificate = certified.certificate
    card = CardFacts(
        name=given.name,
        govern=given.govern,
        data=given.data,
        model=given.model,
        plan=given.plan,
        run=given.run,
        report=given.report,
        exports=exports,
        certificate=certificate,
        approvals=given.approvals,
    )
    write_atomic(folder / "card.md", render_card(card).encode(), fs=fs)
    write_atomic(folder / CERTIFICATE_NAME, to_bytes(certificate.model_dump(mode="json")), fs=fs)
    write_atomic(folder / "plan.json", to_bytes(show_identity(given.plan)), fs=fs)
    write_atomic(folder / "report.json", to_bytes(show_identity(given.report)), fs=fs)
    if given.reference is not None:
        write_atomic(folder / REFERENCE_NAME, given.reference, fs=fs)
    write_notices(folder / "licences", given.model, given.data, fs=fs)
    page = Path(given.report.witness.html)
    if given.report.witness.html and page.is_file():
        write_atomic(folder / PAGE_NAME, page.read_bytes(), fs=fs)
    if given.recipe is not None and given.recipe.is_file():
        write_atomic(folder / RECIPE_NAME, given.recipe.read_bytes(), fs=fs)


def make_release(folder: Path, given: Given, certified: Certified, exports: tuple[str, ...]) -> Release:
    """Put together the record of a folder whose papers are written; its witness is empty yet."""
    files = {name: digest for name, digest in list_digests(folder).items() if name not in WITNESS_NAMES}
    return Release(
        identity=ReleaseIdentity(
            parents=dict(given.parents),
            name=given.name,
            base=given.model.identity.name,
            base_digest=given.model.identity.weights,
            exports=exports,
            files=files,
            certificate=certified.certificate,
            verdict=given.report.identity.verdict,
            override=given.override,
        ),
        witness=ReleaseWitness(folder=""),
    )
