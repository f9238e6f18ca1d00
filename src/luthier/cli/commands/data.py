"""``luthier data``."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import click

from luthier.cli.face import Face, command, draw_facts, draw_table
from luthier.cli.options import form_option, output_option, overrides_option, recipe_argument

if TYPE_CHECKING:
    from rich.console import RenderableType

BAD_ROWS: Final = 2
RIGHT: Final = ("rows in", "rows out", "dropped", "changed", "flagged")

file_argument: Final = click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
record_argument: Final = click.argument("record", metavar="RECORD")


@command()
@file_argument
@click.option("--format", "format_", metavar="FORMAT", default="auto", show_default=True, help="How it is written.")
@form_option
def check(face: Face, *, file: Path, format_: str, form: str) -> int:
    """Say what a file holds and what the default operators would do to it."""
    from luthier.api import data

    found = data.check(file, format=format_, form=form)
    shown = found.model_dump(mode="json")
    facts = {"file": found.path, "digest": found.digest[:12], "format": found.format, "form": found.form}
    problems: list[RenderableType] = [found.hint] if found.hint else []
    problems += [f"{problem['code']}: {problem['what']} ({problem.get('origin', '')})" for problem in shown["problems"]]
    statistics = shown["statistics"]
    counts = {"rows": statistics["num_rows"], "bad rows": found.num_problems, "with tools": statistics["with_tools"]}
    face.show(shown, draw_facts({**facts, **counts}), "", *problems, *draw_waterfall(shown["waterfall"]))
    return 0 if found.is_good else BAD_ROWS


@command()
@recipe_argument
@overrides_option
def curate(face: Face, *, recipe: str, overrides: tuple[str, ...]) -> None:
    """Run a recipe's data stage alone."""
    from luthier.api import data
    from luthier.api.run import run

    result = run(recipe, until="data", overrides=overrides, workspace=face.workspace, progress=face.progress())
    report = data.report(face.workspace, result.stages[0].digest).model_dump(mode="json")
    splits = [
        (name, split["num_rows"], split["num_groups"], _show_counts(split["kinds"]), split["with_calls"])
        for name, split in report["splits"].items()
    ]
    columns = ("split", "rows", "groups", "kinds", "with calls")
    face.show(
        {**result.to_json(), "data": report},
        *draw_waterfall(report["waterfall"]),
        "",
        draw_table(splits, columns=columns, right=("rows", "groups", "with calls")),
        "",
        f"data set {report['digest'][:12]}" + (", reused" if result.stages[0].reused else ""),
    )


@command()
@file_argument
@click.option(
    "--rows", "num_rows", metavar="N", type=click.IntRange(1), default=5, show_default=True, help="The first N rows."
)
@form_option
@click.option("--masks", "has_masks", is_flag=True, help="Show what is trained, as the model reads it.")
@click.option("--base", metavar="BASE", help="Whose tokenizer and chat template.  [default: the default base]")
@click.option(
    "--train-on",
    type=click.Choice(["assistant", "last", "all"]),
    default="assistant",
    show_default=True,
    help="Which turns are trained.",
)
def show(  # noqa: PLR0913  options of the command line
    face: Face,
    *,
    file: Path,
    num_rows: int,
    form: str,
    has_masks: bool,
    base: str | None,
    train_on: Literal["assistant", "last", "all"],
) -> None:
    """Show rows of a file, and with --masks what is trained in them."""
    from luthier.api import data

    if not has_masks:
        rows = data.show(file, num_rows=num_rows, form=form)
        face.show({"rows": rows}, *(json.dumps(row, ensure_ascii=False, indent=1) for row in rows))
        return
    masked = data.show_masks(file, num_rows=num_rows, form=form, base=base, train_on=train_on)
    face.show({"rows": masked}, *(draw_masked(row) for row in masked))


@command()
@file_argument
@click.option("--type", "type_", metavar="SELECTOR", default="deft_ucs", show_default=True, help="Who chooses.")
@click.option(
    "--fraction", metavar="SHARE", type=float, default=0.3, show_default=True, help="The greatest share of the rows."
)
@click.option("--seed", metavar="N", type=click.IntRange(0), default=0, show_default=True, help="What it draws by.")
@form_option
@output_option
def select(  # noqa: PLR0913  options of the command line
    face: Face, *, file: Path, type_: str, fraction: float, seed: int, form: str, output: Path | None
) -> None:
    """Choose rows of a file, the most useful first, and say why and at what cost."""
    from luthier.api import data

    found = data.select(file, type=type_, fraction=fraction, seed=seed, form=form, output=output)
    facts = {
        "selector": type_,
        "rows": f"{found.rows_out:,} of {found.rows_in:,}",
        "why": _show_counts(found.reasons),
        "cost": f"{found.seconds:.2f} s, {found.flops / 1e9:.2f} GFLOP",
    }
    written = (
        [f"wrote {found.rows_out:,} rows to {output}"] if output else [f"{p['id']}  {p['reason']}" for p in found.picks]
    )
    face.show(found.model_dump(mode="json"), draw_facts(facts), "", *written)


@command()
@record_argument
@click.argument("row", metavar="ROW")
def why(face: Face, *, record: str, row: str) -> None:
    """Tell what happened to a row, from its file to its split.

    RECORD is a data set's digest or its first eight digits, or `latest`; ROW is an id or FILE:LINE.
    """
    from luthier.api import data

    story = data.why(face.workspace, record, row)
    shown = story.model_dump(mode="json")
    visits = [(visit.operator, visit.action, ", ".join(visit.reasons)) for visit in story.visits]
    place = f"in the split {story.split}" if story.split else "dropped"
    if story.rank is not None:
        place += f", {story.rank.place:,} of {story.rank.num_ranked:,} in the ranking ({story.rank.reason})"
    parts: list[RenderableType] = [draw_facts({"row": story.row, "origin": story.origin, "now": place})]
    if visits:
        parts += ["", draw_table(visits, columns=("operator", "action", "reasons"))]
    if shown["final"] is not None:
        parts += ["", json.dumps(shown["final"], ensure_ascii=False, indent=1)]
    face.show(shown, *parts)


@command("used-by")
@record_argument
def used_by(face: Face, *, record: str) -> None:
    """List what was made from a record."""
    from luthier.api import data

    found = data.used_by(face.workspace, record)
    rows = [(child["kind"], child["digest"][:12], child["as"], child["depth"]) for child in found["used_by"]]
    drawn = draw_table(rows, columns=("kind", "record", "as", "steps away"), right=("steps away",))
    head = f"{found['kind']} {found['record'][:12]}"
    face.show(found, f"{head} is used by", drawn) if rows else face.show(found, f"{head} is used by nothing yet")


def draw_waterfall(steps: Sequence[dict[str, Any]]) -> list[RenderableType]:
    """Lay the operators out: rows in and out of each."""
    rows = [
        (
            step["operator"],
            step["rows_in"],
            step["rows_out"],
            step["dropped"],
            step["changed"],
            step.get("flagged", 0),
            _show_counts(step["reasons"]),
        )
        for step in steps
    ]
    return [draw_table(rows, columns=("step", *RIGHT, "why"), right=RIGHT)] if rows else []


def draw_masked(row: dict[str, Any]) -> RenderableType:
    """Colour what is trained; without colour it stands between double angle quotes."""
    from rich.text import Text

    if "problem" in row:
        return f"{row['problem']['code']}: {row['problem']['what']} ({row['problem'].get('origin', '')})"
    drawn = Text(f"{row['id']} ({row['origin']}): {row['num_trained']} of {row['num_tokens']} tokens trained\n")
    for piece in row["pieces"]:
        text = _escape_controls(piece["text"])
        drawn.append(f"\u00ab{text}\u00bb" if piece["is_trained"] else text, _style(piece))
    return drawn.append("\n")


def _escape_controls(text: str) -> str:
    """Write control characters as escapes, so that a row cannot steer the terminal."""
    return "".join(
        character
        if character in "\n\t" or unicodedata.category(character) not in {"Cc", "Cf", "Cs"}
        else character.encode("unicode_escape").decode()
        for character in text
    )


def _style(piece: dict[str, Any]) -> str:
    return "bold green" if piece["is_trained"] else "dim"


def _show_counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
