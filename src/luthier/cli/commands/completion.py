"""``luthier completion``: what a shell needs to complete commands, options, stages and files."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

from luthier.cli.face import Face, command

SHELLS: Final = ("bash", "zsh", "fish")
VARIABLE: Final = "_LUTHIER_COMPLETE"  # click's name for it


@command()
@click.argument("shell", metavar="SHELL", type=click.Choice(SHELLS))
def completion(face: Face, *, shell: str) -> None:
    """Print the script that makes a shell (bash, zsh, fish) complete luthier's words.

    \b
    bash: luthier completion bash > ~/.local/share/bash-completion/completions/luthier
    zsh:  luthier completion zsh > ~/.luthier-completion.zsh; echo '. ~/.luthier-completion.zsh' >> ~/.zshrc
    fish: luthier completion fish > ~/.config/fish/completions/luthier.fish
    """  # noqa: D301  the mark by which click keeps lines as they are
    root = click.get_current_context().find_root().command
    completer = get_completion_class(shell)
    if completer is None:
        message = f"click knows no shell {shell!r}"
        raise LookupError(message)
    script = completer(root, {}, "luthier", VARIABLE).source()
    if face.is_json:
        face.show({"shell": shell, "script": script})
    else:
        click.echo(script)
