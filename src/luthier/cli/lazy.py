"""Groups of commands that load a command when it is used, not before."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from typing import Any

import click
from click.shell_completion import CompletionItem

from luthier.cli.commands_table import GROUPS, CommandRow


class LazyGroup(click.Group):
    """A group whose commands are named by a table."""

    def __init__(self, *arguments: Any, rows: Mapping[str, CommandRow], **settings: Any) -> None:  # noqa: ANN401
        """Remember the table; the rest is click's."""
        super().__init__(*arguments, **settings)
        self.rows = rows

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's protocol
        """Return the commands in the table's order."""
        return list(self.rows)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Load one command."""
        row = self.rows.get(cmd_name)
        if row is None:
            return None
        if not row.place:
            path = cmd_name if cmd_name in GROUPS else f"{self.name} {cmd_name}"
            return LazyGroup(cmd_name, rows=GROUPS[path], help=row.summary, no_args_is_help=True)
        module, _, name = row.place.partition(":")
        command: click.Command = getattr(importlib.import_module(f"luthier.cli.commands.{module}"), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the arguments name, else name the nearest."""
        if args and args[0] not in self.rows and not args[0].startswith("-"):
            nearest = difflib.get_close_matches(args[0], list(self.rows), n=1, cutoff=0.5)
            hint = f"; nearest is {nearest[0]!r}" if nearest else ""
            ctx.fail(f"there is no command {args[0]!r}{hint}")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete commands from the table alone: a shell asks at every press of the key."""
        found = [
            CompletionItem(name, help=row.summary) for name, row in self.rows.items() if name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, row.summary) for name, row in self.rows.items()])
