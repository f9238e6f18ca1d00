"""What every command shares: ``--json``, ``--workspace``, where output goes, what progress looks like."""

from __future__ import annotations

import errno
import functools
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from luthier.foundation.core.errors import LuthierError
    from luthier.foundation.core.progress import Progress

WIDE: Final = 1000  # columns of a table that goes into a file or a pipe, so that no cell is folded there

REFUSALS: Final = {
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR),
    *(errno.EACCES, errno.EPERM, errno.EROFS),
}


@dataclass(frozen=True)
class Face:
    """How one command talks.

    Attributes:
        is_json: Whether stdout gets one JSON object instead of text.
        folder: ``--workspace`` as given.
    """

    is_json: bool
    folder: Path | None

    @property
    def workspace(self) -> Path:
        """The folder that holds ``.luthier``: as given, else the nearest upwards, else here."""
        from luthier.api.workspace import find

        return self.folder if self.folder is not None else find(Path.cwd())

    def progress(self) -> Progress:
        """Return bars on a terminal, plain lines elsewhere; both on stderr."""
        from luthier.cli.progress import make_progress

        return make_progress(sys.stderr)

    def show(self, value: Any, *drawn: RenderableType) -> None:  # noqa: ANN401  any JSON value
        """Print a result on stdout.

        Args:
            value: The result as JSON.
            drawn: The result as text and tables, for a person.
        """
        if self.is_json:
            click.echo(json.dumps(value, ensure_ascii=False, indent=1))
            return
        console = self.console()
        with console.capture() as captured:
            for part in drawn:
                console.print(part)
        click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()), color=True)

    def complain(self, error: LuthierError) -> None:
        """Say on stderr what went wrong beside a result that is shown all the same."""
        click.echo("\n\n".join(problem.render() for problem in error.problems), err=True)

    def console(self) -> Console:
        """Return stdout as rich sees it; without colour where ``NO_COLOR`` is set or nobody looks."""
        from rich.console import Console

        width = None if sys.stdout.isatty() else WIDE
        return Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False, soft_wrap=True)


def command(name: str | None = None) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a click command that takes the options of all commands and gets a :class:`Face`.

    Args:
        name: The command's name; the function's by default.
    """

    def decorate(function: Callable[..., Any]) -> click.Command:
        @click.option("--json", "is_json", is_flag=True, help="Print one JSON object on stdout.")
        @click.option(
            "--workspace",
            "folder",
            metavar="DIR",
            type=click.Path(path_type=Path),
            help="The folder that holds .luthier.  [default: nearest upwards, else here]",
        )
        @functools.wraps(function)
        def wrapped(*, is_json: bool, folder: Path | None, **arguments: Any) -> Any:  # noqa: ANN401
            try:
                return function(Face(is_json, folder), **arguments)
            except OSError as error:
                if error.errno not in REFUSALS or error.filename is None:
                    raise
                raise _refuse_path(error) from error

        return click.command(name or function.__name__.strip("_"))(wrapped)

    return decorate


def _refuse_path(error: OSError) -> Exception:
    from luthier.foundation.core.errors import RecipeError

    return RecipeError(
        "E-REC-014",
        f"the system refuses a path: {error.strerror}",
        got=str(error.filename),
        allowed="a path that can be read, or written where something is saved",
        fix="give another path, or mend the permissions of this one",
    )


def draw_table(
    rows: Iterable[Sequence[object]], *, columns: Sequence[str], right: Sequence[str] = (), title: str | None = None
) -> RenderableType:
    """Lay rows out in columns, readable without colour.

    Args:
        rows: Cells, shown as text.
        columns: Headings.
        right: Headings whose cells are numbers and stand at the right.
        title: A line above.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, title=title, title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    return table


def draw_facts(facts: Mapping[str, object]) -> RenderableType:
    """Lay names and values out, one a line."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, Text("" if value is None else str(value)))
    return table
