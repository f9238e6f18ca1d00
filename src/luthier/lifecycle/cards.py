"""Cards: a release's as it was sealed into it, a report's written from the records behind it."""

from __future__ import annotations

from typing import Final

import yaml

from luthier.foundation.core.errors import PolicyDenied, RecipeError
from luthier.foundation.core.hashing import sha256_bytes
from luthier.foundation.recipe.text import RECIPE_NAME
from luthier.foundation.schema.release import Release
from luthier.foundation.schema.report import Report
from luthier.foundation.schema.sections import GovernSection
from luthier.foundation.store.workspace import Workspace
from luthier.instruments.govern.cards import CardFacts, render_card
from luthier.lifecycle.lineage import find_record

CARD_NAME: Final = "card.md"
RELEASES: Final = "releases"
ID_DIGITS: Final = 12


def show_card(workspace: Workspace, text: str) -> str:
    """Return the model card of a release, or of a report that no release was made from yet.

    Args:
        workspace: Where it lies.
        text: A release by name or digest, or a report by digest.

    Raises:
        RecipeError: E-STO-004 for what the workspace does not hold, E-GOV-004 for another kind of record.
        PolicyDenied: E-GOV-006 for a card that is not the one that was released.
    """
    digest = find_record(workspace, text)
    record = workspace.records.get(digest)
    if isinstance(record, Release):
        return _read_card(workspace, record)
    if isinstance(record, Report):
        return _write_card(workspace, record)
    raise RecipeError(
        "E-GOV-004",
        f"a {record.KIND} has no card: a release has one, and a report",
        got=f"{record.KIND} {digest[:ID_DIGITS]}",
        allowed="a release by name or digest, a report by digest",
        fix="luthier status",
    )


def _read_card(workspace: Workspace, release: Release) -> str:
    place = workspace.folder / RELEASES / release.digest / CARD_NAME
    data = place.read_bytes() if place.is_file() else b""
    if sha256_bytes(data) != release.identity.files.get(CARD_NAME):
        raise PolicyDenied(
            "E-GOV-006",
            f"the card of release {release.digest[:ID_DIGITS]} is not the one that was released",
            got=sha256_bytes(data) if data else "no file",
            origin=str(place),
            allowed=release.identity.files.get(CARD_NAME, "a card"),
            fix=f"luthier release verify {release.digest[:ID_DIGITS]}",
        )
    return data.decode()


def _write_card(workspace: Workspace, report: Report) -> str:
    parents = {name: workspace.records.get(digest) for name, digest in report.identity.parents.items()}
    name, govern = _read_recipe(workspace, report.identity.parents["train"])
    facts = CardFacts(
        name=name,
        govern=govern,
        data=parents["data"],
        model=parents["model"],
        plan=parents["plan"],
        run=parents["train"],
        report=report,
        approvals=workspace.approvals.of(report.digest),
    )
    return render_card(facts)


def _read_recipe(workspace: Workspace, run: str) -> tuple[str, GovernSection]:
    """Return name and declared use of the recipe that made a run; the run's own name where its folder was swept."""
    for key in workspace.executions.find_makers([run]):
        place = workspace.folder / "runs" / key[:ID_DIGITS] / RECIPE_NAME
        if place.is_file():
            recipe = yaml.safe_load(place.read_text(encoding="utf-8"))
            return str(recipe["name"]), GovernSection.model_validate(recipe.get("govern", {}))
    return f"run {run[:ID_DIGITS]}", GovernSection()
