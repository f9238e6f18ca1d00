"""``luthier generate``: any model that a reference names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from luthier.cli.face import Face, command
from luthier.cli.options import data_option, form_option


@command()
@click.argument("ref", metavar="REF")
@data_option
@form_option
@click.option("--rows", "num_rows", metavar="N", type=click.IntRange(1), help="Answer the first N rows only.")
@click.option("--max-new-tokens", type=click.IntRange(1), default=128, show_default=True, help="Longest answer.")
@click.option("--temperature", type=click.FloatRange(0), default=0.0, show_default=True, help="0 answers greedily.")
@click.option(
    "--top-p", type=click.FloatRange(0, 1, min_open=True), default=1.0, show_default=True, help="When drawing."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the draws.")
@click.option(
    "--output", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help="Write JSONL to a file."
)
def generate(face: Face, *, ref: str, path: Path, output: Path | None, **settings: Any) -> None:  # noqa: ANN401  as Generation
    """Answer every row of a file with a model.

    REF is `base`, `run:ID`, or the path of a model folder or a PEFT adapter. A conversation's last
    assistant turn is left out and asked for.
    """
    from luthier.api import generate as api
    from luthier.foundation.core.files import write_atomic

    wanted = api.Generation(**settings)
    answers = api.generate(ref, path, workspace=face.workspace, generation=wanted, progress=face.progress())
    lines = [json.dumps(answer, ensure_ascii=False) for answer in answers]
    if output is None:
        face.show({"ref": ref, "answers": answers}, *lines)
        return
    write_atomic(output.absolute(), "".join(f"{line}\n" for line in lines).encode())
    face.show(
        {"ref": ref, "num_rows": len(answers), "output": str(output)}, f"wrote {len(answers)} answers to {output}"
    )
