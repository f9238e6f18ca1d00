"""``luthier release``: list, show, export, certify, verify."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from luthier.cli.face import Face, command, draw_facts, draw_table

release_argument = click.argument("release", metavar="RELEASE")


@command("list")
def list_(face: Face) -> None:
    """List the releases of a workspace, newest first."""
    from luthier.api import releases as api

    found = api.list_releases(face.workspace)
    columns = ("name", "release", "made", "base", "exports", "verdict", "parity", "signature")
    rows = [
        (
            one["name"],
            one["release"][:12],
            one["created"][:19],
            one["base"],
            ", ".join(one["exports"]),
            one["verdict"] + (" overridden" if one["override"] else ""),
            one["parity"],
            one["signature"],
        )
        for one in found
    ]
    drawn = draw_table(rows, columns=columns) if rows else f"no releases in {face.workspace} yet"
    face.show({"releases": found}, drawn)


@command()
@release_argument
def show(face: Face, *, release: str) -> None:
    """Show a release: what it is made of, its parity certificate, where it lies."""
    from luthier.api import releases as api

    found = api.show_release(face.workspace, release)
    identity, witness = found["identity"], found["witness"]
    facts = {
        "name": identity["name"],
        "release": found["digest"],
        "base": f"{identity['base']} ({identity['base_digest'][:12]})",
        "exports": ", ".join(identity["exports"]),
        "verdict": identity["verdict"] + (f", overridden by {identity['override']}" if identity["override"] else ""),
        "approvals": "; ".join(witness["approvals"]) or "none asked for",
        "made": witness["created"],
        "signature": witness["signature"],
        "folder": found["folder"],
    }
    face.show(found, draw_facts(facts), "", *draw_parity(found["parity"]))


@command()
@release_argument
@click.option(
    "--to", metavar="DIR", required=True, type=click.Path(path_type=Path), help="A folder that is new or empty."
)
@click.option("--format", "form", metavar="FORM", default="merged", show_default=True, help="adapter or merged.")
def export(face: Face, *, release: str, to: Path, form: str) -> None:
    """Copy one form of a release, with card and licence notices, to a folder of your own."""
    from luthier.api import releases as api

    done = api.export_release(face.workspace, release, to=to, form=form)
    face.show(done, f"{done['format']} of release {done['release'][:12]} is in {done['folder']}")


@command()
@release_argument
def certify(face: Face, *, release: str) -> None:
    """Compare a release, as it lies, with the live model's scores again; a step beyond its contract exits with 3."""
    from luthier.api import releases as api

    found = api.certify_release(face.workspace, release, progress=face.progress())
    measured = {step["step"]: step for step in found["measured"]}
    steps = [step | {"measured": measured.get(step["step"])} for step in found["certificate"]["steps"]]
    shown = found["certificate"] | {"steps": steps, "noise_floor": found["noise_floor"]}
    face.show(found, *draw_parity(shown))


@command()
@release_argument
@click.option(
    "--public-key",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="PEM file of the key that must have signed it.",
)
def verify(face: Face, *, release: str, public_key: Path | None) -> None:
    """Check every byte of a release; any file changed, added or taken away is named, with exit code 3."""
    from luthier.api import releases as api

    found = api.verify_release(face.workspace, release, public_key=public_key)
    logged = "the audit log agrees" if found["in_audit_log"] else "this workspace's audit log does not know it"
    face.show(
        found,
        f"release {found['name']}@{found['release'][:12]}: {found['num_files']} files are as they were made; "
        f"{found['vouched_by']}; {logged}",
    )


def draw_parity(parity: dict[str, Any]) -> list[Any]:
    """Lay a parity certificate out: a line a step, then verdict, probes and noise floor."""
    rows = [
        (
            step["step"],
            "within" if step["is_within"] else "BEYOND",
            step["num_probes"],
            (step["measured"] or {}).get("num_tokens") or step["num_tokens"],
            f"{step['measured']['max_delta']:.2g}" if step["measured"] else "ids equal",
            f"{step['measured']['top1_agreement']:.1%}" if step["measured"] else "",
        )
        for step in parity["steps"]
    ]
    columns = ("step", "contract", "probes", "tokens", "greatest difference, nats", "same best token")
    short = f" of {parity['num_asked']} asked for" if parity["num_probes"] < parity["num_asked"] else ""
    return [
        draw_table(rows, columns=columns, right=columns[2:]),
        "",
        f"parity: {parity['verdict']} on {parity['num_probes']} probes{short}; noise floor of packed against single "
        f"{parity['noise_floor']:.2g} nats",
    ]
