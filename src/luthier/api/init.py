"""Begin a job: a folder with a commented recipe that fits the rows, example rows where there are none, a README."""

from __future__ import annotations

import difflib
import json
import os
import re
import shlex
import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from luthier.examples.templates.recipe import Job, render_readme, render_recipe
from luthier.examples.templates.template import ROWS_NAME, TEMPLATES, read_rows
from luthier.foundation.core.errors import DataError, RecipeError
from luthier.foundation.core.files import TEMPORARY_PREFIX, disk_errors, write_atomic
from luthier.foundation.recipe.text import RECIPE_NAME

if TYPE_CHECKING:
    from luthier.stages.data.glance import Glance

README_NAME: Final = "README.md"
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
OWN_LICENCE: Final = "LicenseRef-own"


def list_templates() -> dict[str, str]:
    """Return every template's name with what it makes."""
    return {name: template.summary for name, template in TEMPLATES.items()}


def init_job(folder: Path, *, template: str | None = None, data: Path | None = None) -> dict[str, Any]:
    """Make a folder with a commented recipe; nothing that is there is touched.

    Args:
        folder: The folder to make; its last part is the recipe's name.
        template: One of :func:`list_templates`; with ``data`` it may be left out, and the rows tell.
        data: A file or folder of rows, which stays where it is; example rows of the template's own where None.

    Returns:
        The folder, the template, what the rows are, and the commands that come next.

    Raises:
        RecipeError: E-REC-014 for a folder that is there, or a name or template that cannot be.
        DataError: When the rows cannot be read, or fit no template, or not the one that was asked for.
    """
    _check_folder(folder)
    if template is None and data is None:
        raise _refuse_template("nothing", "a job begins with a template or with rows")
    if template is not None and template not in TEMPLATES:
        raise _refuse_template(template, f"there is no template {template!r}")
    rows = None if data is not None else read_rows(str(template))
    job, seen = _look_at_examples(folder, str(template)) if data is None else _look_at_data(folder, template, data)
    _write(folder, {RECIPE_NAME: render_recipe(job).encode(), README_NAME: render_readme(job).encode()}, rows)
    return {
        "folder": str(folder),
        "name": job.name,
        "template": job.template,
        "recipe": str(folder / RECIPE_NAME),
        "data": {"path": str(folder / ROWS_NAME if data is None else data), **seen.model_dump(mode="json")},
        "next": [
            f"cd {folder}",
            f"luthier plan {RECIPE_NAME}",
            f"luthier run {RECIPE_NAME}",
            f"luthier chat release:{job.name}",
        ],
    }


def choose_template(seen: Glance) -> str | None:
    """Return the template that fits rows best; None where nothing can be learned from their kind yet."""
    if seen.kind == "conversation":
        if seen.num_calls:
            return "tools"
        return "classification" if seen.num_labels else "chat"
    return {"preference": "preference", "text": "documents"}.get(seen.kind)


def _look_at_examples(folder: Path, template: str) -> tuple[Job, Glance]:
    from luthier.foundation.schema.rows import Row
    from luthier.instruments.text.forms import to_row
    from luthier.stages.data.glance import measure

    known = TEMPLATES[template]
    columns = dict(known.columns)
    lines = [json.loads(line) for line in read_rows(template).splitlines()]
    rows: list[Row] = [to_row(line, form=known.form, columns=columns, source=ROWS_NAME) for line in lines]
    seen = measure(rows, format="jsonl", form=known.form, columns=columns)
    return _make_job(folder, template, seen, path=ROWS_NAME, is_example=True), seen


def _look_at_data(folder: Path, template: str | None, data: Path) -> tuple[Job, Glance]:
    from luthier.stages.data.glance import look

    seen = look(data)
    best = choose_template(seen)
    if best is None:
        raise DataError(
            "E-TXT-012",
            f"nothing can be learned from {seen.kind} rows by any template",
            got=seen.form,
            origin=str(data),
            allowed="conversations, preferences, plain text",
            fix=f"luthier data show {shlex.quote(str(data))}",
        )
    chosen = template or best
    if not _fits(chosen, seen):
        raise DataError(
            "E-TXT-012",
            f"the rows do not fit the template {chosen!r}: {_describe(seen)}",
            got=seen.form,
            origin=str(data),
            allowed=", ".join(name for name in TEMPLATES if _fits(name, seen)),
            fix=f"--template {best}",
        )
    path = os.path.relpath(_place(data), _place(folder))
    return _make_job(folder, chosen, seen, path=path, is_example=False), seen


def _place(path: Path) -> Path:
    """Return where something lies once links above it are followed, as the system does on the way up again."""
    absolute = path.absolute()
    return absolute.parent.resolve() / absolute.name


def _fits(template: str, seen: Glance) -> bool:
    needs = {"tools": seen.num_calls > 0, "classification": seen.num_labels > 0}
    kind = {"preference": "preference", "documents": "text"}.get(template, "conversation")
    return seen.kind == kind and needs.get(template, True)


def _describe(seen: Glance) -> str:
    if seen.kind != "conversation":
        return f"they are {seen.kind} rows"
    labels = f"{seen.num_labels} different answers" if seen.num_labels else "answers that are no few short names"
    return f"they are conversations with {seen.num_calls:,} tool calls and {labels}"


def _make_job(folder: Path, template: str, seen: Glance, *, path: str, is_example: bool) -> Job:
    return Job(
        name=folder.absolute().name,
        template=template,
        path=path,
        licence="Apache-2.0" if is_example else OWN_LICENCE,
        form=seen.form,
        columns=seen.columns,
        num_rows=seen.num_rows,
        longest_row=seen.longest_row,
        longest_answer=seen.longest_answer,
        is_example=is_example,
    )


def _check_folder(folder: Path) -> None:
    name = folder.absolute().name
    if not NAME.fullmatch(name):
        raise RecipeError(
            "E-REC-014",
            "a recipe cannot have this name",
            got=name,
            allowed="letters, digits, dot, dash and underscore, up to 64, a letter or digit first",
            fix="luthier init my-job --template chat",
        )
    if os.path.lexists(folder):
        raise RecipeError(
            "E-REC-014",
            "there is something of this name already, and nothing is overwritten",
            got=str(folder),
            allowed="a name that is free",
            fix=f"luthier init {name}-2 --template chat",
        )
    if not folder.absolute().parent.is_dir():
        raise RecipeError(
            "E-REC-014",
            "there is no folder to make the job in",
            got=str(folder.parent),
            allowed="a folder that exists",
            fix=f"mkdir -p {folder.parent}",
        )


def _refuse_template(got: str, what: str) -> RecipeError:
    nearest = difflib.get_close_matches(got, list(TEMPLATES), n=1, cutoff=0.5)
    return RecipeError(
        "E-REC-014",
        what + (f"; nearest is {nearest[0]!r}" if nearest else ""),
        got=got,
        allowed=f"--template {', '.join(TEMPLATES)}; or --data FILE",
        fix=f"--template {nearest[0] if nearest else 'chat'}",
    )


def _write(folder: Path, files: dict[str, bytes], rows: bytes | None) -> None:
    """Make the folder whole beside its place and put it there in one step."""
    temporary = folder.absolute().with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}")
    try:
        with disk_errors(temporary.parent, folder.name):
            temporary.mkdir()
        for name, text in {**files, **({ROWS_NAME: rows} if rows is not None else {})}.items():
            write_atomic(temporary / name, text)
        temporary.rename(folder.absolute())
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
