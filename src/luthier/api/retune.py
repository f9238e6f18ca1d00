"""The next run from a serving release: its recipe and what people said since, run and compared with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from luthier.foundation.core.errors import RecipeError
from luthier.foundation.core.progress import Progress, SilentProgress
from luthier.foundation.schema.dataset import DatasetVersion
from luthier.foundation.schema.model import ModelChoice
from luthier.foundation.schema.release import Release
from luthier.foundation.schema.rows import Row
from luthier.foundation.schema.run import Run
from luthier.foundation.store.workspace import Workspace

if TYPE_CHECKING:
    from luthier.lifecycle.result import CorridorResult

FOLDER: Final = "retune"
RUN_DIGITS: Final = 12
SHORT_DIGITS: Final = 8
COMPARED: Final = ("first", "second", "values", "differences", "verdicts", "better", "worse")


@dataclass(frozen=True, slots=True)
class Retuned:
    """What a next run gave.

    Attributes:
        drafted: What :func:`draft` returned.
        result: The corridor's.
        compared: The release and the new run on rows that neither was trained on; None where there are none.
    """

    drafted: dict[str, Any]
    result: CorridorResult
    compared: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class _Origin:
    """What a release was made from.

    Attributes:
        recipe: Its recipe in recipe syntax.
    """

    release: Release
    run: Run
    run_id: str
    data: DatasetVersion
    model: ModelChoice
    recipe: dict[str, Any]


def draft(
    folder: Path, release: str | None = None, *, to: Path | None = None, recipe: Path | None = None
) -> dict[str, Any]:
    """Write the next run's recipe: the release's own with the accepted feedback on its name as a further source.

    Args:
        folder: The folder that holds ``.luthier``.
        release: ``NAME``, ``NAME@DIGEST`` or ``DIGEST``; the newest by default.
        to: Where to write; by default a folder below ``.luthier/retune`` that is named by its content.
        recipe: Stands in for the release's own recipe where that was swept.

    Returns:
        ``release``, ``run`` (of the release), ``folder``, ``recipe``, ``num_rows``, ``sources`` and ``reviewers``.

    Raises:
        RecipeError: E-MON-025 where there is nothing to learn from, E-MON-026 where a source or the recipe is not
            there any more, E-REC-014 for a target that is there.
    """
    from luthier.foundation.core.hashing import sha256_json
    from luthier.lifecycle.papers import write_recipe_folder
    from luthier.stages.model.catalogue import CATALOGUE
    from luthier.stages.monitor.feedback_rows import require_rows
    from luthier.stages.monitor.retune import FILE_OF_KIND, add_source, find_kind, list_reviewers, pin_paths

    workspace = Workspace.open(folder)
    origin = _find_origin(workspace, release, recipe)
    kind = find_kind(origin.recipe)
    pinned = pin_paths(origin.recipe, origin.data, origin.model, catalogue=CATALOGUE)
    digests = _list_served(workspace, origin.release.identity.name)
    pieces = [piece for piece in workspace.feedback.entries(state="accepted") if piece.release in digests]
    rows = require_rows(pieces, kind, known=_read_known(pinned))
    ids = {row["id"] for row in rows}
    reviewers = list_reviewers([piece for piece in pieces if piece.id in ids])
    grown = add_source(pinned, kind, reviewers)
    name = f"{grown['name']}-{sha256_json({'rows': rows, 'recipe': grown})[:SHORT_DIGITS]}"
    target = to if to is not None else workspace.folder / FOLDER / name
    if to is not None or not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        write_recipe_folder(target, grown, {FILE_OF_KIND[kind]: rows})
    return {
        "release": f"{origin.release.identity.name}@{origin.release.digest[:RUN_DIGITS]}",
        "run": origin.run_id,
        "folder": str(target),
        "recipe": str(target / "recipe.yaml"),
        "num_rows": len(rows),
        "kind": kind,
        "sources": [source["path"] for source in grown["data"]["sources"]],
        "reviewers": reviewers,
    }


def run(
    folder: Path, drafted: Mapping[str, Any], *, until: str | None = None, progress: Progress | None = None
) -> Retuned:
    """Run a drafted recipe and compare what it gives with the release, on rows that neither was trained on.

    The comparison comes before the gates have their say, so that it is there whatever they say.

    Args:
        folder: The folder that holds ``.luthier``.
        drafted: What :func:`draft` returned.
        until: The last stage; ``evaluate`` or later for a comparison.
        progress: Told what a person should see.

    Raises:
        LuthierError: As ``run`` and ``compare``.
    """
    from luthier.api import run as corridor

    told = progress or SilentProgress()
    recipe = Path(drafted["recipe"])
    early = _end_early(until)
    result = corridor.run(recipe, until=early, workspace=folder, progress=told)
    compared = _compare(folder, drafted, result, progress=told)
    if until != early:
        result = corridor.run(recipe, until=until, workspace=folder, progress=told)
    return Retuned(dict(drafted), result, compared)


def _end_early(until: str | None) -> str:
    from luthier.lifecycle.stages_table import STAGES

    names = [spec.name for spec in STAGES]
    before = names[: names.index("evaluate")]
    return until if until in before else "evaluate"


def _find_origin(workspace: Workspace, text: str | None, recipe: Path | None) -> _Origin:
    release = _find_release(workspace, text)
    parents = [workspace.records.get(digest) for digest in release.identity.parents.values()]
    run = next(record for record in parents if isinstance(record, Run))
    grandparents = [workspace.records.get(digest) for digest in run.identity.parents.values()]
    run_id = run.witness.run_id
    own = recipe if recipe is not None else _find_recipe(workspace, release, run_id)
    return _Origin(
        release=release,
        run=run,
        run_id=run_id,
        data=next(record for record in grandparents if isinstance(record, DatasetVersion)),
        model=next(record for record in grandparents if isinstance(record, ModelChoice)),
        recipe=_read_recipe(own),
    )


def _find_recipe(workspace: Workspace, release: Release, run_id: str) -> Path:
    """Return the run's own recipe, or the release's copy of it where the run's folder was swept."""
    own = workspace.folder / "runs" / run_id / "recipe.yaml"
    kept = workspace.folder / "releases" / release.digest / "recipe.yaml"
    return kept if kept.is_file() and not own.is_file() else own


def _find_release(workspace: Workspace, text: str | None) -> Release:
    from luthier.lifecycle.releases import find_release, list_releases

    if text is not None:
        return find_release(workspace, text).record
    known = list_releases(workspace)
    if not known:
        raise RecipeError(
            "E-MON-026",
            "the workspace holds no release yet",
            got=str(workspace.root),
            allowed="a workspace in which a recipe ran to its release",
            fix="luthier run RECIPE",
        )
    return known[0]


def _list_served(workspace: Workspace, name: str) -> set[str]:
    """Return what answers of a release's name may be traced to: each of its releases, and the run of each.

    Feedback on an older release is still worth learning from, and a run may be served before it is released.
    """
    from luthier.lifecycle.releases import list_releases

    named = [release for release in list_releases(workspace) if release.identity.name == name]
    return {release.digest for release in named} | {release.identity.parents.get("train", "") for release in named}


def _read_recipe(path: Path) -> dict[str, Any]:
    from luthier.api.recipes import resolve

    if not path.is_file():
        raise RecipeError(
            "E-MON-026",
            "the release's recipe is not there any more; `luthier gc` sweeps the folders of old runs",
            got=str(path),
            allowed="the recipe that the release was made by",
            fix="luthier retune --recipe FILE",
        )
    return resolve(path).to_mapping()


def _read_known(recipe: Mapping[str, Any]) -> set[str]:
    from luthier.stages.monitor.retune import list_known

    return {json.loads(line)["id"] for path in list_known(recipe) for line in path.read_text("utf-8").splitlines()}


def _compare(
    folder: Path, drafted: Mapping[str, Any], result: CorridorResult, *, progress: Progress
) -> dict[str, Any] | None:
    from luthier.api.compare import Comparing, compare_preferences, compare_rows
    from luthier.api.recipes import resolve
    from luthier.stages.monitor.retune import find_question

    question = find_question(resolve(Path(drafted["recipe"])).to_mapping())
    data = result.find("data")
    if question is None or data is None or result.find("evaluate") is None:
        return None
    unseen = _find_unseen(Workspace.open(folder), data.record, drafted["run"], question.on)
    rows = [row for row in unseen if row.kind == question.kind]
    if not rows:
        return None
    comparing = Comparing(question.metrics, question.max_questions, question.max_new_tokens)
    compare = compare_preferences if question.kind == "preference" else compare_rows
    found = compare(
        f"run:{drafted['run']}",
        f"run:{result.run_id}",
        rows,
        workspace=folder,
        comparing=comparing,
        progress=progress,
    )
    return {"on": question.on, "num_rows": len(rows), **{key: found[key] for key in COMPARED}}


def _find_unseen(workspace: Workspace, data: DatasetVersion, old_run: str, on: str) -> list[Row]:
    """Return the new run's held-out rows that the release was not trained on either."""
    from luthier.stages.data.texts import content_key

    (execution,) = workspace.executions.find(old_run, stage="train")
    run = workspace.records.get(str(execution.record))
    old = next(r for r in map(workspace.records.get, run.identity.parents.values()) if isinstance(r, DatasetVersion))
    held_out = data.identity.splits.get(on)
    trained = [old.identity.splits[name].blob for name in ("train", "validation") if name in old.identity.splits]
    if held_out is None:
        return []
    seen = {content_key(row) for blob in trained for row in workspace.blobs.get_rows(blob)}
    rows = workspace.blobs.get_rows(held_out.blob)
    return [row for row in rows if content_key(row) not in seen]
