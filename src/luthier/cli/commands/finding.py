"""``luthier list``, ``explain`` and ``doctor``: finding one's way."""

from __future__ import annotations

import click

from luthier.cli.face import Face, command, draw_table

LACKING_EXIT_CODE = 4


@command("list")
@click.argument("family", metavar="FAMILY", required=False)
def list_(face: Face, *, family: str | None) -> None:
    """List the plug-ins of a family.

    Without FAMILY, the families.
    """
    from luthier.api import registry

    if family is None:
        families = registry.list_families()
        face.show({"families": families}, *families)
        return
    plugins = registry.list_plugins(family)
    rows = [(p["name"], p["summary"], p["maturity"], p["source"], ", ".join(p["options"])) for p in plugins]
    drawn = draw_table(rows, columns=("name", "summary", "maturity", "source", "options"))
    face.show({"family": family, "plugins": plugins}, drawn if rows else f"no {family} are built in this version")


@command()
@click.argument("code", metavar="CODE")
def explain(face: Face, *, code: str) -> None:
    """Explain an error code."""
    from luthier.api import registry

    page = registry.explain(code)
    face.show(page, f"{page['code']}: {page['title']}", "", page["why"], "", f"fix: {page['fix']}")


@command()
def doctor(face: Face) -> int:
    """Say what this machine has and lacks, with the line that mends it."""
    from luthier.api.doctor import examine, is_able

    findings = examine(face.workspace)
    rows = [(finding.name, finding.state, finding.found, finding.fix) for finding in findings]
    able = is_able(findings)
    face.show(
        {"is_able": able, "findings": [finding.model_dump(mode="json") for finding in findings]},
        draw_table(rows, columns=("what", "state", "found", "fix")),
    )
    return 0 if able else LACKING_EXIT_CODE
