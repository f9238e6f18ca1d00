"""The next run's recipe: a release's own, its sources where they lie today, and what people said since."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from luthier.foundation.core.errors import RecipeError
from luthier.foundation.core.hashing import sha256_file
from luthier.foundation.core.model_files import compute_weights_digest
from luthier.foundation.recipe.paths import VARIABLE
from luthier.foundation.schema.dataset import DatasetVersion
from luthier.foundation.schema.feedback import Feedback, TeachingKind
from luthier.foundation.schema.model import ModelChoice
from luthier.stages.monitor.feedback_rows import KIND_OF_OBJECTIVE

FILE_OF_KIND: Final[dict[str, str]] = {"correction": "corrections.jsonl", "preference": "preferences.jsonl"}
FORM_OF_KIND: Final[dict[str, str]] = {"correction": "messages", "preference": "preference"}
SPLIT_OF_TASK: Final = "test"


@dataclass(frozen=True, slots=True)
class Question:
    """What the release and the new run are compared on.

    Attributes:
        on: A split, or one of the recipe's evaluation sets.
        kind: Conversations are answered; both answers of preference pairs are weighed.
    """

    on: str
    metrics: tuple[str, ...]
    max_questions: int | None
    max_new_tokens: int
    kind: Literal["conversation", "preference"] = "conversation"


def find_kind(recipe: Mapping[str, Any]) -> TeachingKind:
    """Return what kind of feedback a recipe's objective learns from.

    Raises:
        RecipeError: E-MON-025 for an objective that learns from no feedback.
    """
    objective = str(recipe["train"]["objective"]["type"])
    if objective not in KIND_OF_OBJECTIVE:
        raise RecipeError(
            "E-MON-025",
            "the recipe's objective learns from no feedback",
            got=objective,
            allowed=", ".join(KIND_OF_OBJECTIVE),
            fix="write a recipe by hand; `luthier feedback list --state accepted --json` has what was said",
            field="train.objective",
        )
    return KIND_OF_OBJECTIVE[objective]


def pin_paths(
    recipe: Mapping[str, Any], data: DatasetVersion, model: ModelChoice, *, catalogue: Collection[str]
) -> dict[str, Any]:
    """Return a recipe whose relative paths are absolute, each file proven to be the one that the release saw.

    A path with ``${VAR}`` stays as written; a base of the catalogue stays a name.

    Args:
        recipe: The release's recipe in recipe syntax.
        data: The data set that the release was trained on.
        model: Its base.
        catalogue: Names of bases that are no paths.

    Raises:
        RecipeError: E-MON-026 for a file or a base that is not there any more, or is another.
    """
    pinned = copy.deepcopy(dict(recipe))
    places = list(_list_places(pinned["data"]))
    if len(places) != len(data.identity.sources):
        raise RecipeError(
            "E-MON-026",
            "the recipe names other files than the release was made from",
            got=f"{len(places)} files",
            allowed=f"the recipe of the release, which names {len(data.identity.sources)}",
            fix="luthier retune --recipe FILE",
            field="data",
        )
    for (holder, key), read, path in zip(places, data.identity.sources, data.witness.paths, strict=True):
        found = Path(path)
        if not found.is_file():
            raise _moved(path, "it is gone", holder[key])
        if sha256_file(found) != read.digest:
            raise _moved(path, "it holds something else", holder[key])
        if not VARIABLE.search(holder[key]):
            holder[key] = str(found)
    pinned["model"]["base"] = _pin_base(pinned["model"]["base"], model, catalogue)
    return pinned


def _pin_base(written: str, model: ModelChoice, catalogue: Collection[str]) -> str:
    if written in catalogue:
        return written
    path = model.witness.path
    if not Path(path).is_dir():
        raise _moved(path, "it is gone", written)
    if compute_weights_digest(Path(path)) != model.identity.weights:
        raise _moved(path, "it holds something else", written)
    return written if VARIABLE.search(written) else path


def add_source(recipe: Mapping[str, Any], kind: TeachingKind, reviewers: Sequence[str]) -> dict[str, Any]:
    """Return a recipe with the file of accepted feedback as its last source.

    Args:
        recipe: In recipe syntax.
        kind: What the file holds; it lies beside the recipe.
        reviewers: Who accepted it, as they declared themselves.
    """
    grown = copy.deepcopy(dict(recipe))
    source = {
        "path": FILE_OF_KIND[kind],
        "form": FORM_OF_KIND[kind],
        "basis": f"feedback, reviewed by {', '.join(reviewers)}",
    }
    grown["data"] = {**grown.get("data", {}), "sources": [*grown.get("data", {}).get("sources", ()), source]}
    return grown


def list_known(recipe: Mapping[str, Any]) -> list[Path]:
    """Return the recipe's sources that are earlier files of feedback; what they hold is not added again."""
    paths = (Path(source["path"]) for source in recipe["data"]["sources"])
    return [path for path in paths if path.name in FILE_OF_KIND.values() and path.is_file()]


def list_reviewers(pieces: Sequence[Feedback]) -> list[str]:
    """Name who accepted feedback, each once."""
    return sorted({piece.reviewed_by for piece in pieces if piece.reviewed_by})


def find_question(recipe: Mapping[str, Any]) -> Question | None:
    """Return what the first suite of answers or of pairs asks; None where the recipe has neither.

    Of two models that share no base a pair says only which answer each finds likelier, so that is the metric.
    """
    for suite in recipe["evaluate"]["suites"]:
        if suite["type"] == "task":
            metrics = tuple(m["type"] if isinstance(m, Mapping) else str(m) for m in suite["metrics"])
            return Question(
                str(suite.get("on", SPLIT_OF_TASK)), metrics, suite.get("max_questions"), suite["max_new_tokens"]
            )
        if suite["type"] == "preference":
            on = str(suite.get("on", SPLIT_OF_TASK))
            return Question(on, ("pair_likelihood",), suite.get("max_questions"), 0, "preference")
    return None


def _list_places(data: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield where each path of a data section stands, in the order in which the data stage lists them."""
    for source in data["sources"]:
        yield source, "path"
    for name, given in data["evaluation"].items():
        yield (given, "path") if isinstance(given, dict) else (data["evaluation"], name)


def _moved(path: str, what: str, written: str) -> RecipeError:
    return RecipeError(
        "E-MON-026",
        f"what the release was made from cannot be used again: {what}",
        got=path,
        origin=f"the release's recipe, where it says {written}",
        allowed="the same bytes where they were",
        fix=f"put it back at {path}, or give a recipe: luthier retune --recipe FILE",
    )
