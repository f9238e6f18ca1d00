"""Stage 1 alone, on any file or record: check, show, select, why, used by."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from luthier.foundation.core.errors import DataError, RecipeError
from luthier.foundation.store.workspace import Workspace

if TYPE_CHECKING:
    from luthier.foundation.schema.dataset import DatasetVersion
    from luthier.instruments.text.tokens import TextTokenizer
    from luthier.stages.data.check import FileCheck
    from luthier.stages.data.report import DataReport
    from luthier.stages.data.select_file import FileSelection
    from luthier.stages.data.why import Story

KIND = "dataset_version"
TrainOn = Literal["assistant", "last", "all"]


def check(path: Path, *, format: str = "auto", form: str = "auto") -> FileCheck:
    """Say what a file holds and what the default operators would do to it; bad rows are reported, not raised.

    Args:
        path: A file of rows.
        format: How it is written; ``auto`` looks.
        form: What its rows look like; ``auto`` looks.

    Raises:
        DataError: When the file as a whole cannot be read.
    """
    from luthier.stages.data.check import check_file
    from luthier.stages.data.readers.source import Reading

    return check_file(Reading(path, format=format, form=form))


def show(path: Path, *, num_rows: int = 5, form: str = "auto") -> list[dict[str, Any]]:
    """Return the first rows of a file in the one form that all rooms share.

    Args:
        path: A file of rows.
        num_rows: How many.
        form: What its rows look like; ``auto`` looks.

    Raises:
        DataError: When the file or one of its first rows cannot be read.
    """
    from luthier.stages.data.readers.source import Reading, read_rows

    read = read_rows(Reading(path, form=form))
    if not read.rows:
        read.raise_problems(path)
    return [row.model_dump(mode="json", exclude_defaults=True) for row in read.rows[:num_rows]]


def select(
    path: Path,
    *,
    type: str,
    fraction: float,
    seed: int = 0,
    form: str = "auto",
    output: Path | None = None,
) -> FileSelection:
    """Choose rows of a file as ``data.select`` would of the training rows.

    Args:
        path: A file of rows.
        type: The selector.
        fraction: The greatest share of the rows that is taken.
        seed: What the selector draws by.
        form: What the rows look like; ``auto`` looks.
        output: Where the chosen rows are written as JSONL, best first; whole or not at all.

    Raises:
        DataError: When the file or one of its rows cannot be read, or the fraction is none.
        RecipeError: E-REC-011 for a selector that does not exist.
    """
    from luthier.foundation.core.clock import SystemClock
    from luthier.foundation.core.files import write_atomic
    from luthier.foundation.schema.sections import PluginChoice
    from luthier.stages.data.readers.source import Reading
    from luthier.stages.data.select_file import select_file

    choice = PluginChoice(type=type, options={"fraction": fraction})
    found, records = select_file(Reading(path, form=form), choice, seed=seed, clock=SystemClock())
    if output is not None:
        lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        write_atomic(output.absolute(), "".join(lines).encode())
    return found


def show_masks(
    path: Path,
    *,
    num_rows: int = 5,
    form: str = "auto",
    base: str | None = None,
    train_on: TrainOn = "assistant",
) -> list[dict[str, Any]]:
    """Return the first rows as the model reads them, cut into what is trained and what is not.

    Args:
        path: A file of rows.
        num_rows: How many.
        form: What its rows look like; ``auto`` looks.
        base: Whose tokenizer and chat template; the default base's where None.
        train_on: Which turns are trained.

    Raises:
        DataError: When the file cannot be read, or a row has nothing to train.
        EnvironmentLacks: E-ENV-005 when the base was not pulled.
    """
    from luthier.instruments.text.show import mask_rows
    from luthier.stages.data.readers.source import Reading, read_rows

    read = read_rows(Reading(path, form=form))
    masked, problems = mask_rows(read.rows[:num_rows], _load_tokenizer(base), train_on=train_on)
    if not masked:
        read.raise_problems(path)
        raise DataError.collect(problems)
    return [*map(asdict, masked), *({"problem": problem.to_dict()} for problem in problems)]


def _load_tokenizer(base: str | None) -> TextTokenizer:
    from luthier.instruments.text.tokens import load_tokenizer
    from luthier.instruments.text.tool_templates import choose_tool_template
    from luthier.stages.model.catalogue import DEFAULT_BASE
    from luthier.stages.model.stage import locate_base

    folder = locate_base(base or DEFAULT_BASE, base_folder=Path.cwd(), environment=os.environ)
    tokenizer = load_tokenizer(folder)
    if tokenizer.chat_template is None:
        return tokenizer
    _, template = choose_tool_template(tokenizer.chat_template)
    return tokenizer.with_chat_template(template)


def report(folder: Path, record: str = "latest") -> DataReport:
    """Return a data set's report: sources, waterfall, splits.

    Args:
        folder: The folder that holds ``.luthier``.
        record: A digest or its first digits, or ``latest``.

    Raises:
        RecipeError: E-STO-004 when the record is unknown.
    """
    from luthier.stages.data.report import build_report

    workspace = Workspace.open(folder)
    return build_report(_find_dataset(workspace, record), workspace.blobs)


def why(folder: Path, record: str, row: str) -> Story:
    """Tell what happened to a row.

    Args:
        folder: The folder that holds ``.luthier``.
        record: A data set's digest or its first digits, or ``latest``.
        row: The row's id, or ``FILE:LINE``.

    Raises:
        RecipeError: E-STO-004 when the record is unknown.
        DataError: E-DAT-016 when the data set never saw such a row.
    """
    from luthier.stages.data.why import why as tell

    workspace = Workspace.open(folder)
    return tell(_find_dataset(workspace, record), workspace.blobs, row)


def used_by(folder: Path, record: str) -> dict[str, Any]:
    """List what was made from a record, nearest first.

    Args:
        folder: The folder that holds ``.luthier``.
        record: Any record's digest or its first digits, or ``latest`` for the newest data set.

    Raises:
        RecipeError: E-STO-004 when the record is unknown.
    """
    workspace = Workspace.open(folder)
    digest = _find_dataset(workspace, record).digest if record == "latest" else workspace.records.find(record)
    kinds = {entry.digest: entry for entry in workspace.records.entries()}
    children = [
        {"depth": child.depth, "as": child.name, "digest": child.digest, "kind": kinds[child.digest].kind}
        for child in workspace.records.walk_children(digest)
    ]
    return {"record": digest, "kind": kinds[digest].kind, "used_by": children}


def _find_dataset(workspace: Workspace, record: str) -> DatasetVersion:
    from luthier.foundation.schema.dataset import DatasetVersion

    if not workspace.folder.is_dir():
        raise RecipeError(
            "E-REC-014",
            "there is no workspace here yet, and so no data set",
            got=str(workspace.root),
            allowed="a folder that holds .luthier",
            fix="luthier data curate RECIPE",
        )
    found = (
        workspace.records.latest(KIND)
        if record == "latest"
        else workspace.records.get(workspace.records.find(record, kind=KIND))
    )
    if not isinstance(found, DatasetVersion):
        raise DataError(
            "E-DAT-016",
            "the workspace holds no data set yet",
            got=str(workspace.root),
            allowed="a workspace in which a recipe's data stage ran",
            fix="luthier data curate RECIPE",
        )
    return found
