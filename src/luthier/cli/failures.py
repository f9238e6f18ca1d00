"""How a command ends: known errors with their exit code, signals with theirs, faults with a file, never a traceback."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import traceback
import uuid
from pathlib import Path
from types import FrameType, TracebackType
from typing import Final

import click

from luthier.foundation.core.errors import LuthierError, Problem, RecipeError
from luthier.foundation.core.log import redact

WORKSPACE_FOLDER: Final = ".luthier"
USAGE: Final = 2
INTERRUPTED: Final = 130
TERMINATED: Final = 143


class Terminated(BaseException):
    """SIGTERM arrived. No ``Exception``, so that nothing catches it by mistake."""


def run_guarded(group: click.Group, arguments: list[str]) -> int:
    """Run the command line and return its exit code.

    Args:
        group: All commands.
        arguments: Words after ``luthier``.
    """
    is_json = "--json" in arguments
    try:
        result = group.main(args=arguments, prog_name="luthier", standalone_mode=False)
        sys.stdout.flush()
    except LuthierError as error:
        return show_error(error, is_json=is_json)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return USAGE
    except click.ClickException as error:
        return show_error(_to_recipe_error(error, arguments), is_json=is_json)
    except (click.Abort, KeyboardInterrupt):
        return _say_interrupted(INTERRUPTED)
    except Terminated:
        return _say_interrupted(TERMINATED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read has enough
        return 0
    return result if isinstance(result, int) else 0


def install_handlers() -> None:
    """Make SIGTERM an exception, and let an unexpected failure end in one sentence and a file."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.excepthook = explain_unexpected


def show_error(error: LuthierError, *, is_json: bool) -> int:
    """Print an error: parts on stderr, and with ``--json`` the object on stdout.

    Returns:
        The exit code.
    """
    if is_json:
        click.echo(json.dumps(error.to_dict(), ensure_ascii=False, indent=1))
    click.echo("\n\n".join(problem.render() for problem in error.problems), err=True)
    return error.exit_code


def explain_unexpected(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Keep the traceback of a fault of ours in a file and say where; Python then exits with 1."""
    if not issubclass(kind, Exception):
        sys.__excepthook__(kind, error, trace)
        return
    text = redact("".join(traceback.format_exception(kind, error, trace)))
    place = _keep(text)
    problem = Problem(
        "E-REC-015",
        f"luthier failed unexpectedly: {kind.__name__}",
        got=redact(str(error))[:200],
        origin=str(place),
        fix=f"report it with {place}",
    )
    failed = LuthierError.collect([problem])
    show_error(failed, is_json="--json" in sys.argv)


def _keep(text: str) -> Path:
    folder = Path.cwd() / WORKSPACE_FOLDER
    parent = folder / "failures" if folder.is_dir() else Path(tempfile.gettempdir())
    place = parent / f"luthier-{uuid.uuid4().hex[:12]}.txt"
    try:
        parent.mkdir(exist_ok=True)
        place.write_text(text, encoding="utf-8", errors="replace")
    except OSError as problem:
        click.echo(f"{text}\n(it could not be saved: {problem})", err=True)
    return place


def _to_recipe_error(error: click.ClickException, arguments: list[str]) -> RecipeError:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "luthier"
    return RecipeError(
        "E-REC-014",
        error.format_message().rstrip(".").replace("\n", " "),
        got=redact(" ".join(["luthier", *arguments])),
        allowed=f"what `{path} --help` shows",
        fix=f"{path} --help",
    )


def _say_interrupted(code: int) -> int:
    click.echo("interrupted; what was saved before is intact, and the same command goes on from there", err=True)
    return code


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise Terminated
