"""``luthier feedback``: what people say of answers, and what a reviewer makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from luthier.cli.face import Face, command, draw_table

COLUMNS: Final = ("id", "time", "model", "kind", "rating", "state", "reviewed by", "says")
SHOWN: Final = 72


@command()
@click.argument("response_id", metavar="[RESPONSE]", required=False)
@click.option("--rating", metavar="RATING", help="up, down, or 1 to 5.")
@click.option("--correction", metavar="TEXT", help="What the answer should have been.")
@click.option("--preferred", metavar="TEXT", help="A better answer; the worse one is the answer that was given.")
@click.option("--rejected", metavar="TEXT", help="The worse answer, where content is not kept.")
@click.option("--comment", metavar="TEXT", help="Anything else.")
@click.option(
    "--data",
    "path",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A file of feedback instead: JSON objects as POST /v1/feedback takes them, one a line.",
)
def add(face: Face, *, response_id: str | None, path: Path | None, **said: str | None) -> None:
    """Add feedback on an answer that was served here, or a file of it.

    RESPONSE is the id of the completion, such as chatcmpl-1f2e….
    """
    from luthier.api import feedback as api

    given = {name: text for name, text in said.items() if text is not None}
    if (response_id is None) == (path is None) or (path is not None and given):
        message = "give either RESPONSE with what is said of it, or --data FILE"
        raise click.UsageError(message, click.get_current_context())
    if path is not None:
        done = api.add_file(face.workspace, path)
    else:
        done = api.add(face.workspace, {"response_id": response_id, **given})
    known = len(done["feedback"]) - done["num_new"]
    face.show(done, _draw(done["feedback"]), "", f"{done['num_new']} added, {known} known already")


@command("list")
@click.option("--state", type=click.Choice(["new", "accepted", "rejected"]), help="Only this state.")
@click.option("--last", metavar="N", type=click.IntRange(1), help="Only the newest.")
def list_(face: Face, *, state: Any, last: int | None) -> None:  # noqa: ANN401  one of three words
    """List feedback in the order in which it came."""
    from luthier.api import feedback as api

    found = api.list_feedback(face.workspace, state=state, limit=last)
    which = f"{state} feedback" if state else "feedback"
    face.show({"feedback": found}, _draw(found) if found else f"no {which} in {face.workspace} yet")


@command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.option("--accept/--reject", "is_accepted", default=None, help="What becomes of it.")
@click.option("--by", metavar="NAME", required=True, help="Who decides; declared, not authenticated.")
def review(face: Face, *, ids: tuple[str, ...], is_accepted: bool | None, by: str) -> None:
    """Accept or reject feedback: what is accepted, the next run may learn from."""
    from luthier.api import feedback as api

    if is_accepted is None:
        message = "say --accept or --reject"
        raise click.UsageError(message, click.get_current_context())
    reviewed = api.review(face.workspace, ids, "accepted" if is_accepted else "rejected", by=by)
    face.show({"feedback": reviewed}, _draw(reviewed))


def _draw(pieces: list[dict[str, Any]]) -> Any:  # noqa: ANN401  a rich table
    rows = [
        (
            *(piece["id"], piece["time"][:19], piece["model"], piece["kind"], piece["rating"], piece["state"]),
            *(piece["reviewed_by"], _summarise(piece["payload"])),
        )
        for piece in pieces
    ]
    return draw_table(rows, columns=COLUMNS)


def _summarise(payload: dict[str, Any]) -> str:
    said = next((payload[name] for name in ("correction", "preferred", "comment") if payload[name]), "")
    line = " ".join(said.split())
    return line if len(line) <= SHOWN else f"{line[: SHOWN - 1]}…"
