"""Feedback: take it, list it, review it, and write what was accepted as rows that stage 1 reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Literal

from luthier.foundation.core.errors import DataError, Problem, RecipeError
from luthier.foundation.schema.feedback import Feedback, FeedbackState, TeachingKind
from luthier.foundation.schema.telemetry import KnownResponse
from luthier.foundation.store.workspace import FOLDER_NAME, Workspace

FindResponse = Callable[[str], KnownResponse | None]
MAX_NAME: Final = 200


class FeedbackDesk:
    """Takes feedback for one workspace; a server keeps one.

    Args:
        workspace: The folder that holds ``.luthier``.
        find_response: Tells what is known of a response; by default what the traffic log holds.
    """

    def __init__(self, workspace: Path, find_response: FindResponse | None = None) -> None:
        """Open the workspace; nothing is written before the first piece."""
        self._workspace = Workspace.open(workspace)
        self._find = find_response if find_response is not None else _open_log(workspace)

    def take(self, values: Sequence[Mapping[str, Any]], *, origins: Sequence[str] = ("feedback",)) -> dict[str, Any]:
        """Check, complete, redact and store feedback, all of it or none.

        Args:
            values: JSON objects with ``response_id`` and what is said of it.
            origins: Where each came from, for errors.

        Returns:
            ``feedback``: the pieces as stored; ``num_new``: how many were not there before.

        Raises:
            DataError: E-MON-020 not understood, E-MON-021 unknown response, E-MON-022 content neither sent nor kept,
                E-TXT-013 to E-TXT-018 for messages; all problems of all pieces.
            StoreError: E-ENV-003 when the disk is full.
        """
        from luthier.stages.monitor.feedback import build_feedback, read_form

        now = self._workspace.clock.now()
        pieces: list[Feedback] = []
        problems: list[Problem] = []
        for index, (value, origin) in enumerate(zip(values, origins, strict=True)):
            time = (now + timedelta(microseconds=index)).isoformat(timespec="microseconds")  # keeps a file's order
            try:
                form = read_form(value, origin=origin)
                pieces.append(build_feedback(form, self._find(form.response_id), time=time))
            except DataError as error:
                problems += error.problems
        if problems:
            raise DataError.collect(problems)
        are_new = self._workspace.feedback.add(pieces)
        return {"feedback": [piece.model_dump(mode="json") for piece in pieces], "num_new": sum(are_new)}


def add(folder: Path, value: Mapping[str, Any]) -> dict[str, Any]:
    """Take one piece of feedback on a response that the workspace's traffic log knows.

    Raises:
        LuthierError: As :meth:`FeedbackDesk.take`.
    """
    return FeedbackDesk(folder).take([value])


def add_file(folder: Path, path: Path) -> dict[str, Any]:
    """Take a file of feedback, one JSON object a line, all of it or none.

    Raises:
        LuthierError: As :meth:`FeedbackDesk.take`, each problem with file and line; E-MON-020 for a line that is no
            object.
    """
    values, origins, problems = [], [], []
    for number, line in enumerate(_read_lines(path), start=1):
        if not line.strip():
            continue
        origin = f"{path} line {number}"
        try:
            value = json.loads(line)
        except ValueError as error:
            value = str(error)
        if isinstance(value, dict):
            values.append(value)
            origins.append(origin)
        else:
            problems.append(_not_an_object(value, origin))
    if problems:
        raise DataError.collect(problems)
    return FeedbackDesk(folder).take(values, origins=origins)


def list_feedback(
    folder: Path, *, state: FeedbackState | None = None, limit: int | None = None
) -> list[dict[str, Any]]:
    """List feedback in the order in which it came.

    Args:
        folder: The folder that holds ``.luthier``.
        state: Only this state.
        limit: Only the newest.
    """
    return [
        piece.model_dump(mode="json") for piece in Workspace.open(folder).feedback.entries(state=state, limit=limit)
    ]


def review(
    folder: Path, ids: Sequence[str], decision: Literal["accepted", "rejected"], *, by: str
) -> list[dict[str, Any]]:
    """Accept or reject feedback, all named pieces or none; the review is in the audit log.

    Args:
        folder: The folder that holds ``.luthier``.
        ids: Pieces of feedback.
        decision: What they become.
        by: Who decides, as they declare themselves.

    Raises:
        RecipeError: E-MON-023 for an unknown id, E-MON-024 without ids or a name.
    """
    name = by.strip()
    if not ids or not name or len(name) > MAX_NAME or not name.isprintable():
        raise RecipeError(
            "E-MON-024",
            "a review decides on some feedback and has a name",
            got=f"{len(ids)} ids by {name!r}",
            allowed=f"one id or more, and a printable name of at most {MAX_NAME} characters",
            fix="luthier feedback review --accept ID --by 'Your Name'",
        )
    pieces = Workspace.open(folder).feedback.review(ids, decision, by=name)
    return [piece.model_dump(mode="json") for piece in pieces]


def collect(folder: Path, target: Path, *, kind: TeachingKind = "correction") -> dict[str, Any]:
    """Write accepted feedback as rows that stage 1 reads, beside a recipe that names them as its source.

    Args:
        folder: The folder that holds ``.luthier``.
        target: A folder that is not there yet; it appears whole or not at all.
        kind: ``correction`` gives conversations, ``preference`` pairs.

    Returns:
        ``folder``, ``recipe`` and ``num_rows``; ``luthier data curate RECIPE`` runs the data stage on them.

    Raises:
        RecipeError: E-MON-025 where no feedback of the kind was accepted, E-REC-014 for a target that is there.
        StoreError: E-ENV-003 when the disk is full.
    """
    from luthier.lifecycle.papers import write_recipe_folder
    from luthier.stages.monitor.feedback_rows import require_rows
    from luthier.stages.monitor.retune import FILE_OF_KIND, add_source, list_reviewers

    pieces = Workspace.open(folder).feedback.entries(state="accepted")
    rows = require_rows(pieces, kind)
    plain = {"luthier": 1, "name": "feedback", "data": {"split": {"validation": 0, "test": 0}}}
    ids = {row["id"] for row in rows}
    recipe = add_source(plain, kind, list_reviewers([piece for piece in pieces if piece.id in ids]))
    write_recipe_folder(target, recipe, {FILE_OF_KIND[kind]: rows})
    return {"folder": str(target), "recipe": str(target / "recipe.yaml"), "num_rows": len(rows)}


def _open_log(folder: Path) -> FindResponse:
    """Return what looks responses up in the traffic log."""
    from luthier.api.telemetry import FOLDER
    from luthier.stages.monitor.telemetry_log import TrafficLog, read_response

    log = TrafficLog(folder / FOLDER_NAME / FOLDER)

    def find_response(response_id: str) -> KnownResponse | None:
        line = log.find(response_id)
        return read_response(line) if line is not None else None

    return find_response


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeError) as error:
        raise DataError(
            "E-MON-020",
            "the file of feedback cannot be read",
            got=str(error),
            origin=str(path),
            allowed="a file of JSON objects in UTF-8, one a line",
            fix=f"ls -l {path}",
        ) from error


def _not_an_object(value: object, origin: str) -> Problem:
    from luthier.stages.monitor.feedback import EXAMPLE

    return DataError(
        "E-MON-020",
        "a line of feedback is one JSON object",
        got=value,
        origin=origin,
        allowed=EXAMPLE,
        fix=f"write {EXAMPLE}",
    ).problems[0]
