"""Find and read everything that a data section names: sources in order, evaluation sets by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from luthier.foundation.core.errors import DataError, Problem, RecipeError
from luthier.foundation.core.hashing import sha256_file, sha256_json
from luthier.foundation.recipe.paths import resolve_path
from luthier.foundation.schema.dataset import SourceRead
from luthier.foundation.schema.sections import DataSection, Source
from luthier.stages.data.readers.folder import list_files
from luthier.stages.data.readers.source import Reading, read_rows
from luthier.stages.data.split import SPLIT_NAMES
from luthier.stages.data.spool import Rows


@dataclass(frozen=True, slots=True)
class Place:
    """One source with the file that it means on this machine.

    Attributes:
        source: As the recipe says.
        path: Where the file lies here.
        name: What rows call it: the file's name, so that a data set does not depend on the folder.
    """

    source: Source
    path: Path
    name: str


def locate_sources(section: DataSection, base_folder: Path) -> tuple[Place, ...]:
    """Find the files of all sources.

    Raises:
        DataError: E-DAT-010 where the section names none.
        EnvironmentLacks: E-ENV-002 for a variable that is not set.
        RecipeError: E-REC-010 for what this version does not do.
    """
    if not section.sources:
        raise DataError(
            "E-DAT-010",
            "the recipe names no source",
            got="data.sources is empty",
            fix="data: {sources: [{path: data/train.jsonl}]}",
            field="data.sources",
        )
    weighted = next((source for source in section.sources if source.weight != 1), None)
    if weighted is not None:
        raise _not_built("data.sources.weight", str(weighted.weight), "weight: 1, or repeat the source's rows")
    names: list[str] = []
    places: list[Place] = []
    for source in section.sources:
        path = resolve_path(source.path, base_folder, os.environ)
        names.append(path.name)
        repeated = names.count(path.name)
        places.append(Place(source, path, path.name if repeated == 1 else f"{path.name} ({repeated})"))
    return tuple(places)


def locate_evaluation(section: DataSection, base_folder: Path) -> dict[str, Place]:
    """Find the files of the evaluation sets by name.

    Raises:
        DataError: E-DAT-014 for a name that a split of the sources has.
        EnvironmentLacks: E-ENV-002 for a variable that is not set.
    """
    places: dict[str, Place] = {}
    for name, given in section.evaluation.items():
        fraction = 1.0 if name == "train" else getattr(section.split, name, 0.0)
        if name in SPLIT_NAMES and fraction > 0:
            raise DataError(
                "E-DAT-014",
                f"the evaluation set {name!r} has the name of a split that is cut from the sources",
                got=name,
                allowed="any other name",
                fix=f"data.split.{name}: 0" if name != "train" else "rename the evaluation set",
                field=f"data.evaluation.{name}",
            )
        source = Source(path=given) if isinstance(given, str) else given
        path = resolve_path(source.path, base_folder, os.environ)
        places[name] = Place(source, path, path.name)
    return places


def read_place(
    place: Place, rows: Rows, on_row: Callable[[], None] | None = None, say: Callable[[str], None] | None = None
) -> SourceRead:
    """Read one file.

    Args:
        place: The file.
        rows: Where its rows are added.
        on_row: Called once a row, for progress.
        say: Told what may be meant otherwise.

    Raises:
        DataError: For the file as a whole, or with one problem a bad row.
    """
    source = place.source
    reading = Reading(place.path, source.format, source.form, source.columns, place.name)
    result = read_rows(reading, on_row, into=rows)
    result.raise_problems(place.path)
    if result.hint and say is not None:
        say(result.hint)
    return SourceRead(
        digest=digest_source(place.path),
        format=result.format,
        form=result.form,
        num_rows=result.num_rows,
        license=source.license,
        basis=source.basis,
    )


def digest_source(path: Path) -> str:
    """Return the digest of a source's bytes; of a folder that of its files' names below it and bytes.

    Raises:
        DataError: E-DAT-001 where it cannot be read, E-DAT-034 for a folder that is no source.
    """
    try:
        if not path.is_dir():
            return sha256_file(path)
        files = list_files(path)
        return sha256_json([[file.relative_to(path).as_posix(), sha256_file(file)] for file in files])
    except OSError as error:
        raise DataError(
            "E-DAT-001",
            "a source must be a file that can be read, or a folder of such files",
            got=str(path),
            allowed="JSONL, JSON, CSV or plain text, .gz or .zst or as it is; Parquet; a folder of such files",
            fix="check the path: it is relative to the recipe",
        ) from error


def read_all(
    targets: Sequence[tuple[Place, Rows]], on_row: Callable[[], None], say: Callable[[str], None] | None = None
) -> list[SourceRead]:
    """Read several files and collect what is wrong with all of them.

    Args:
        targets: Each file, and where its rows are added.
        on_row: Called once a row, for progress.
        say: Told what may be meant otherwise in one of them.

    Raises:
        DataError: The problems of every file.
    """
    read: list[SourceRead] = []
    problems: list[Problem] = []
    for place, rows in targets:
        try:
            read.append(read_place(place, rows, on_row, say))
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError.collect(problems)
    return read


def _not_built(field: str, got: str, fix: str) -> RecipeError:
    return RecipeError(
        "E-REC-010", f"'{field}' is not built in this version", got=got, allowed="its default", fix=fix, field=field
    )
