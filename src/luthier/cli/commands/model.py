"""``luthier model``."""

from __future__ import annotations

import click

from luthier.cli.face import Face, command, draw_facts, draw_table


@command("list")
def list_(face: Face) -> None:
    """List the bases known by name and which of them are here."""
    from luthier.api import models

    found = models.list_models()
    rows = [
        (m["name"], m["licence"], f"{m['bytes'] / 2**20:,.0f} MiB" if m["is_here"] else "not pulled", m["path"] or "")
        for m in found
    ]
    face.show({"models": found}, draw_table(rows, columns=("name", "licence", "here", "path"), right=("here",)))


@command()
@click.argument("name", metavar="NAME")
def show(face: Face, *, name: str) -> None:
    """Show what is known about a base."""
    from luthier.api import models

    found = models.show_model(name)
    face.show(found, draw_facts({key: value for key, value in found.items() if key != "pulled_from"}))


@command()
@click.argument("name", metavar="NAME")
def pull(face: Face, *, name: str) -> None:
    """Bring a base by name, verified, once."""
    from luthier.api import models

    found = models.pull_model(name, progress=face.progress())
    face.show(found, f"{name} is at {found['path']}")


@command()
@click.argument("base", metavar="BASE")
@click.option(
    "--use",
    type=click.Choice(["commercial", "research", "personal"]),
    default="commercial",
    show_default=True,
    help="The declared use.",
)
@click.option("--license", "license_", metavar="SPDX", help="A folder's licence, where the catalogue has none.")
def check(face: Face, *, base: str, use: str, license_: str | None) -> None:
    """Say what a model folder is and whether it is safe to load.

    BASE is a folder, or the name of a base that was pulled.
    """
    from luthier.api import models

    found = models.check_model(base, use=use, license=license_)
    shape, licence = found["shape"], found["licence"]
    facts = {
        "path": found["path"],
        "safe": "yes: safetensors only, no code",
        "architecture": shape["architecture"],
        "parameters": f"{shape['num_parameters']:,}",
        "positions": f"{shape['max_positions']:,}",
        "licence": f"{licence['licence'] or 'unknown'}: {licence['reason']}",
        "digest": found["weights"][:12],
    }
    face.show(found, draw_facts(facts))
