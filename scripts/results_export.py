"""What a published Report may hold, and how it is taken out of a workspace.

Every class is closed: a key that is not named here is refused. Row ids, system and metric names are single words of
plain characters. As a last check no text of a question, an answer or a held-out row may occur anywhere in the file.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import yaml
from pydantic import StringConstraints, ValidationError

from luthier.foundation.core.errors import LuthierError
from luthier.foundation.core.hashing import Digest
from luthier.foundation.schema.dataset import DatasetVersion, WaterfallStep
from luthier.foundation.schema.model import ModelChoice
from luthier.foundation.schema.noun import Noun
from luthier.foundation.schema.plan import Plan
from luthier.foundation.schema.report import Report, ReportWitness
from luthier.foundation.schema.run import Run
from luthier.foundation.store.records import AnyRecord
from luthier.foundation.store.workspace import FOLDER_NAME, Workspace

Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:#/@+=-]{1,120}$")]
"""One word without spaces: an id or a name, never a text."""

R = TypeVar("R")
SHORTEST_TEXT: Final = 20
SOURCES: Final = ("src", "recipes", "pyproject.toml", "constraints.txt")


class ResultsError(Exception):
    """A sentence for the person who publishes."""


class Answer(Noun):
    """One answered question: which, by whom, how good; what was said stays in the workspace."""

    id: Word
    system: Word
    scores: dict[Word, float]


class SourceFigures(Noun):
    """One source: the file's name without its folder."""

    file: Word
    digest: Digest
    num_rows: int
    license: str | None


class DataFigures(Noun):
    """The DatasetVersion's counts."""

    record: Digest
    sources: tuple[SourceFigures, ...]
    waterfall: tuple[WaterfallStep, ...]
    splits: dict[Word, int]


class ModelFigures(Noun):
    """The ModelChoice's name and weights."""

    record: Digest
    name: Word
    weights: Digest
    num_parameters: int
    licence: str
    tool_template: Word


class PlanFigures(Noun):
    """The Plan's key numbers and the machine that it was made for."""

    record: Digest
    num_examples: int
    num_tokens: int
    num_trained_tokens: int
    num_steps: int
    epochs: float
    batch_tokens: int
    max_length: int
    precision: Word
    learning_rate: float
    method: dict[Word, str | int | float | bool | list[str]]
    objective: Word
    seed: int
    seconds_estimate: float
    peak_memory_bytes: int
    hardware: dict[Word, str | int | float | bool]


class RunFigures(Noun):
    """How training went."""

    record: Digest
    weights: Digest
    seconds: float
    rate_tokens_per_second: float
    peak_memory_bytes: int
    num_resumes: int
    best_step: int
    train_loss: float
    validation_loss: float | None


class Entry(Noun):
    """One published result.

    Attributes:
        command: The line that makes it again.
        date: When the Report was stored, UTC.
        commit: Commit of the checkout at export; None outside git.
        is_dirty: Whether sources, recipes or pinned versions differed from that commit.
        stage_seconds: What each stage took; a resumed training counts from its last start.
        report_digest: The Report's digest as the workspace has it.
    """

    name: Word
    command: str
    date: str
    commit: str | None
    is_dirty: bool
    environment: dict[str, str]
    stage_seconds: dict[Word, float]
    data: DataFigures
    model: ModelFigures
    plan: PlanFigures
    run: RunFigures
    report_digest: Digest
    report: Report
    answers: tuple[Answer, ...]


def export_report(folder: Path, *, name: str | None, checkout: Path) -> Entry:
    """Take the newest Report of a recipe out of a workspace.

    Args:
        folder: The folder that holds ``.luthier``.
        name: The recipe's name; None takes the newest Report of all.
        checkout: The git checkout that is published.

    Raises:
        ResultsError: No such Report, a damaged record, or a text where none may be.
    """
    if not (folder / FOLDER_NAME).is_dir():
        raise ResultsError(f"There is no workspace in {folder}: it has no {FOLDER_NAME}.")
    workspace = Workspace.open(folder)
    try:
        digest, date, recipe = _find_report(workspace, name)
        entry = _build(workspace, digest, date, recipe, checkout)
        refuse_texts(dump_entry(entry), _collect_texts(workspace, entry))
    except LuthierError as error:
        raise ResultsError(f"The workspace cannot be read: {error}") from error
    return entry


def dump_entry(entry: Entry) -> str:
    """Write an entry as JSON, an answer a line."""
    value = entry.model_dump(mode="json")
    answers = value.pop("answers")
    head = json.dumps(value, indent=1, ensure_ascii=False).removesuffix("\n}")
    lines = ",\n".join(f"  {json.dumps(answer, ensure_ascii=False)}" for answer in answers)
    return f'{head},\n "answers": [\n{lines}\n ]\n}}\n'


def write_entry(entry: Entry, folder: Path) -> Path:
    """Write an entry under its recipe's name and return the path."""
    path = folder / f"{entry.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dump_entry(entry), encoding="utf-8")
    return path


def read_entry(path: Path) -> Entry:
    """Read a committed entry; its Report must still have its digest.

    Raises:
        ResultsError: The file has another form, or the Report in it was changed.
    """
    try:
        entry = Entry.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise ResultsError(f"{path.name} has a form that may not be published: {_name_places(error)}.") from error
    if entry.report.digest != entry.report_digest:
        raise ResultsError(f"The Report in {path.name} was changed after export: its digest differs.")
    if entry.name != path.stem:
        raise ResultsError(f"{path.name} holds the Report of {entry.name!r}.")
    return entry


def read_entries(folder: Path) -> list[Entry]:
    """Read all committed entries in the order of their names."""
    return [read_entry(path) for path in sorted(folder.glob("*.json"))]


def refuse_texts(dumped: str, texts: set[str]) -> None:
    """Refuse a file in which one of the texts occurs.

    Raises:
        ResultsError: At least one occurs; the text itself is not shown.
    """
    found = sum(json.dumps(text, ensure_ascii=False)[1:-1] in dumped for text in texts)
    if found:
        raise ResultsError(f"Nothing is exported: {found} texts of rows or answers would be published.")


def _find_report(workspace: Workspace, name: str | None) -> tuple[str, str, dict[str, Any]]:
    seen = []
    for entry in workspace.records.entries(kind=Report.KIND):
        recipe = _read_recipe(workspace, entry.digest)
        if name is None or recipe["name"] == name:
            return entry.digest, entry.created, recipe
        seen.append(str(recipe["name"]))
    wanted = "a Report" if name is None else f"a Report of {name!r}"
    raise ResultsError(
        f"The workspace has not {wanted}; it has Reports of: {', '.join(sorted(set(seen))) or 'nothing'}."
    )


def _read_recipe(workspace: Workspace, report: str) -> dict[str, Any]:
    """Read the recipe that a Report's training ran with: it lies in the run's folder."""
    run = _parent(workspace, workspace.records.get(report), "train", Run)
    path = workspace.folder / "runs" / run.witness.run_id / "recipe.yaml"
    if not path.is_file():
        raise ResultsError(f"The folder of run {run.witness.run_id} is gone, and with it its recipe.")
    recipe: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return recipe


def _parent(workspace: Workspace, record: AnyRecord, name: str, kind: type[R]) -> R:
    found = workspace.records.get(record.identity.parents[name])
    if not isinstance(found, kind):
        raise ResultsError(f"The Report's {name!r} is a {found.KIND}.")
    return found


def _build(workspace: Workspace, digest: str, date: str, recipe: Mapping[str, Any], checkout: Path) -> Entry:
    report = workspace.records.get(digest)
    if not isinstance(report, Report):
        raise ResultsError(f"{digest[:12]} is no Report.")
    run = _parent(workspace, report, "train", Run)
    folder = workspace.folder / "runs" / run.witness.run_id
    data = _parent(workspace, report, "data", DatasetVersion)
    model = _parent(workspace, report, "model", ModelChoice)
    plan = _parent(workspace, report, "plan", Plan)
    stages: dict[str, AnyRecord] = {"data": data, "model": model, "plan": plan, "train": run, "evaluate": report}
    commit, is_dirty = describe_checkout(checkout)
    lines = list(workspace.blobs.get_lines(report.identity.answers))
    try:
        return Entry(
            name=recipe["name"],
            command=_write_command(folder, recipe),
            date=date[:19],
            commit=commit,
            is_dirty=is_dirty,
            environment=_read_environment(folder),
            stage_seconds={name: record.witness.seconds for name, record in stages.items()},
            data=_figure_data(data),
            model=_figure_model(model),
            plan=_figure_plan(plan),
            run=_figure_run(run),
            report_digest=digest,
            report=Report(identity=report.identity, witness=_without_path(report.witness)),
            answers=tuple(Answer(id=one["id"], system=one["system"], scores=one["scores"]) for one in lines),
        )
    except ValidationError as error:
        raise ResultsError(f"Nothing is exported: {_name_places(error)} could hold a text.") from error


def _name_places(error: ValidationError) -> str:
    """Name the refused fields without their values, which may be texts."""
    return ", ".join(sorted({".".join(map(str, one["loc"])) or error.title for one in error.errors()}))


def _without_path(witness: ReportWitness) -> ReportWitness:
    return witness.model_copy(update={"html": ""})


def _figure_data(data: DatasetVersion) -> DataFigures:
    sources = tuple(
        SourceFigures(file=Path(path).name, digest=one.digest, num_rows=one.num_rows, license=one.license)
        for path, one in zip(data.witness.paths, data.identity.sources, strict=True)
    )
    splits = {name: rows.num_rows for name, rows in data.identity.splits.items()}
    return DataFigures(record=data.digest, sources=sources, waterfall=data.identity.waterfall, splits=splits)


def _figure_model(model: ModelChoice) -> ModelFigures:
    return ModelFigures(
        record=model.digest,
        name=model.identity.name,
        weights=model.identity.weights,
        num_parameters=model.identity.shape.num_parameters,
        licence=model.identity.licence.licence,
        tool_template=model.identity.tool_template,
    )


def _figure_plan(plan: Plan) -> PlanFigures:
    decided = ("num_examples", "num_steps", "epochs", "batch_tokens", "max_length", "precision", "learning_rate")
    found = ("num_tokens", "num_trained_tokens", "seconds_estimate", "peak_memory_bytes", "hardware")
    return PlanFigures(
        record=plan.digest,
        method=plan.identity.method,
        objective=plan.identity.objective["type"],
        seed=plan.identity.seed,
        **{name: getattr(plan.identity, name) for name in decided},
        **{name: getattr(plan.witness, name) for name in found},
    )


def _figure_run(run: Run) -> RunFigures:
    made = ("weights", "best_step", "train_loss", "validation_loss")
    seen = ("seconds", "rate_tokens_per_second", "peak_memory_bytes", "num_resumes")
    return RunFigures(
        record=run.digest,
        **{name: getattr(run.identity, name) for name in made},
        **{name: getattr(run.witness, name) for name in seen},
    )


def _write_command(folder: Path, recipe: Mapping[str, Any]) -> str:
    """Write the line that makes the Report again, and its release, with what was overridden on the command line."""
    line = ["luthier", "run", f"recipes/{recipe['name']}.yaml"]
    origins = json.loads((folder / "origins.json").read_text(encoding="utf-8"))
    for key in sorted(key for key, origin in origins.items() if origin == "--set"):
        value: Any = recipe
        for part in key.split("."):
            value = value[int(part)] if isinstance(value, list) else value[part]
        line += ["--set", f"{key}={json.dumps(value)}"]
    return shlex.join(line)


def _read_environment(folder: Path) -> dict[str, str]:
    found = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
    return {"python": found["python"], **{name: text for name, text in found["packages"].items() if text}}


def describe_checkout(checkout: Path) -> tuple[str | None, bool]:
    """Return a checkout's commit and whether what a run depends on differs from it."""
    git = shutil.which("git")
    if git is None or not (checkout / ".git").exists():
        return None, True

    def ask(*words: str) -> str:
        done = subprocess.run([git, *words], cwd=checkout, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    return ask("rev-parse", "HEAD") or None, bool(ask("status", "--porcelain", "--", *SOURCES))


def _collect_texts(workspace: Workspace, entry: Entry) -> set[str]:
    """Gather every text of the questions, the answers and the held-out rows they were made from."""
    report = entry.report.identity
    data = _parent(workspace, entry.report, "data", DatasetVersion)
    blobs = [report.answers, report.questions]
    blobs += [data.identity.splits[str(suite["on"])].blob for suite in report.suites if "on" in suite]
    texts = {text for blob in blobs for line in workspace.blobs.get_lines(blob) for text in iterate_strings(line)}
    return {text for text in texts if len(text) >= SHORTEST_TEXT and " " in text}


def iterate_strings(value: Any) -> Iterator[str]:  # noqa: ANN401  any JSON value
    """Yield every string in a JSON value, keys left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from iterate_strings(part)
    elif isinstance(value, list):
        for part in value:
            yield from iterate_strings(part)
