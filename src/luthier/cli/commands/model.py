"""``luthier model``."""

from __future__ import annotations

from typing import Any

import click

from luthier.cli.face import Face, command, draw_facts, draw_table


@command("list")
def list_(face: Face) -> None:
    """List the models known by name and those that are here."""
    from luthier.api import models

    found = models.list_models()
    columns = ("name", "kind", "parameters", "size", "licence", "origin", "digest")
    rows = [
        (
            m["name"],
            m["kind"],
            "" if m["num_parameters"] is None else f"{m['num_parameters'] / 1e6:,.1f} M",
            f"{m['bytes'] / 2**20:,.0f} MiB" if m["is_here"] else "not pulled",
            m["licence"] or "none stated",
            m["origin"],
            m["digest"],
        )
        for m in found
    ]
    face.show({"models": found}, draw_table(rows, columns=columns, right=("parameters", "size")))


@command()
@click.argument("name", metavar="NAME")
def show(face: Face, *, name: str) -> None:
    """Show what is known about a model."""
    from luthier.api import models

    found = models.show_model(name)
    facts = {key: value for key, value in found.items() if not isinstance(value, dict)}
    for part in (found["catalogue"], found["pulled_from"]):
        facts |= {key: value for key, value in (part or {}).items() if key not in facts and not isinstance(value, dict)}
    face.show(found, draw_facts({key: value for key, value in facts.items() if value not in ("", None)}))


@command()
@click.argument("name", metavar="NAME")
def pull(face: Face, *, name: str) -> None:
    """Bring a model by name, verified, once.

    NAME is one of `luthier model list`, ORGANISATION/NAME[@REVISION] of the hub that HF_ENDPOINT names, or the path of
    a GGUF file, which is converted.
    """
    from luthier.api import models

    found = models.pull_model(name, progress=face.progress())
    face.show(found, f"{name} is at {found['path']}")


@command()
@click.argument("base", metavar="MODEL")
@click.option(
    "--use",
    type=click.Choice(["commercial", "research", "personal"]),
    default="commercial",
    show_default=True,
    help="The declared use.",
)
@click.option("--license", "license_", metavar="SPDX", help="Its licence, where none is known.")
def check(face: Face, *, base: str, use: str, license_: str | None) -> int:
    """Say what a model is, whether it is safe to load and whether it may be used.

    MODEL is a folder, an adapter's folder, a GGUF file, or the name of a model that was pulled. Nothing of it is
    loaded. It ends with 3 where the model is not safe or may not be used.
    """
    from luthier.api import models
    from luthier.foundation.core.errors import Problem

    found = models.check_model(base, use=use, license=license_)
    notes = [(oddity["name"], oddity["what"]) for oddity in found["oddities"]]
    parts = ["", draw_table(notes, columns=("file", "what it is"))] if notes else []
    face.show(found, draw_facts(_list_facts(found)), *parts)
    for problem in found["problems"] if not face.is_json else []:
        click.echo(f"\n{Problem(**problem).render()}", err=True)
    return 0 if found["is_safe"] and found["may_be_used"] else 3


def _list_facts(found: dict[str, Any]) -> dict[str, object]:
    licence = found["licence"]
    positions = f"{found['shape']['max_positions']:,}" if found["shape"] else None
    facts = {
        "path": found["path"],
        "kind": found["kind"] if found["form"] == "folder" else f"{found['kind']}, as a GGUF file",
        "safe": "yes: no code, no pickles" if found["is_safe"] else "no",
        "may be used": f"{'yes' if found['may_be_used'] else 'no'}: {licence['reason']}",
        "as a base": f"no: {found['why_no_base']}" if found["why_no_base"] else "yes",
        "architecture": found["architecture"],
        "parameters": f"{found['num_parameters']:,}",
        "formats": ", ".join(f"{name} ({number:,})" for name, number in found["formats"].items()),
        "positions": positions,
        "vocabulary": f"{found['vocabulary']:,}" if found["vocabulary"] else None,
        "chat template": "yes" if found["has_chat_template"] else "no",
        "stands on": found["stands_on"] if found["kind"] == "adapter" else None,
        "licence": licence["licence"] or "unknown",
        "digest": found["weights"][:12],
    }
    return {name: value for name, value in facts.items() if value is not None}
