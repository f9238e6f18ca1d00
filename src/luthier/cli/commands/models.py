"""``luthier generate`` and ``luthier compare``: any models that references name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from luthier.cli.face import Face, command, draw_table
from luthier.cli.options import data_option, form_option, output_option


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
@click.option("--api-key-env", metavar="NAME", help="Environment variable with an address's key.")
@output_option
def generate(face: Face, *, ref: str, path: Path, output: Path | None, **settings: Any) -> None:  # noqa: ANN401
    """Answer every row of a file with a model.

    REF is `base`, `run:ID`, `release:NAME`, the path of a model folder or a PEFT adapter, or `http://HOST/v1#MODEL`. A
    conversation's last assistant turn is left out and asked for.
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


@command()
@click.argument("first", metavar="REF")
@click.argument("second", metavar="REF")
@data_option
@form_option
@click.option("--metric", "metrics", metavar="NAME", multiple=True, default=["exact_match"], help="What is compared.")
@click.option("--max-questions", metavar="N", type=click.IntRange(1), help="Draw this many questions by seed.")
@click.option("--max-new-tokens", type=click.IntRange(1), default=128, show_default=True, help="Longest answer.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of draw and resampling.")
@click.option(
    "--api-key-env", "api_key_envs", metavar="NAME", multiple=True, help="Environment variable with an address's key."
)
def compare(face: Face, *, first: str, second: str, path: Path, **settings: Any) -> None:  # noqa: ANN401
    """Compare two models on the same rows: second minus first, with a verdict.

    REF is `base` (the other one's base), `run:ID`, `release:NAME`, the path of a model folder or a PEFT adapter, or
    `http://HOST/v1#MODEL`. Two addresses with keys take --api-key-env twice.
    """
    from luthier.api import compare as api

    wanted = api.Comparing(**settings)
    found = api.compare(first, second, path, workspace=face.workspace, comparing=wanted, progress=face.progress())
    values = [
        (
            value["metric"],
            found.get(value["system"], value["system"]),
            f"{value['value']:.4g}",
            _span(value),
            value["n"],
        )
        for value in found["values"]
    ]
    differences = [
        (item["metric"], f"{item['value']:+.4g}", _span(item), item["n"], found["verdicts"][item["metric"]])
        for item in found["differences"]
    ]
    face.show(
        found,
        draw_table(values, columns=("metric", "model", "value", "95 % interval", "n"), right=("value", "n")),
        "",
        draw_table(differences, columns=("metric", "difference", "95 % interval", "n", "verdict"), right=("n",)),
        "",
        f"better on {len(found['better'])} questions, worse on {len(found['worse'])}",
    )


def _span(value: dict[str, Any]) -> str:
    low, high = value["interval"]
    return f"{low:.4g} to {high:.4g}"
