"""The command line's door. Commands are named in ``commands_table.py`` and loaded when they are used."""

from __future__ import annotations

import atexit
import gc
import io
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from luthier import __version__
from luthier.cli.commands_table import ROOT
from luthier.cli.failures import install_handlers, run_guarded
from luthier.cli.lazy import LazyGroup

luthier = LazyGroup(
    "luthier",
    rows=ROOT,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    help="""The whole life of a fine-tuned model in one recipe, with evidence at every step.

    Exit codes: 0 done, 1 failed run, 2 bad recipe or usage, 3 denied by a gate, policy or licence,
    4 the environment lacks something, 5 waiting, 130 and 143 interrupted with state saved.
    """,
)
click.version_option(__version__, prog_name="luthier")(luthier)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit.

    Args:
        arguments: Words after ``luthier``; the process's own by default.
    """
    install_handlers()
    atexit.register(gc.freeze)  # else the interpreter's last collections walk all of torch, for a second
    for stream in (sys.stdout, sys.stderr):
        if isinstance(
            stream, io.TextIOWrapper
        ):  # a name that is no text, or a terminal of another encoding, ends nothing
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    sys.exit(run_guarded(luthier, list(sys.argv[1:] if arguments is None else arguments)))
