"""``luthier run``, ``plan``, ``train`` and ``evaluate``: one corridor, ended at different doors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from luthier.cli.commands.release import draw_parity
from luthier.cli.face import Face, command, draw_facts, draw_table
from luthier.cli.options import complete_stages, overrides_option, recipe_argument

if TYPE_CHECKING:
    from rich.console import RenderableType

    from luthier.foundation.schema.plan import Plan
    from luthier.foundation.schema.release import Release
    from luthier.foundation.schema.report import Report
    from luthier.lifecycle.result import CorridorResult

DENIED: Final = 3
WAITING: Final = 5


@command()
@recipe_argument
@click.option(
    "--until",
    metavar="STAGE",
    shell_complete=complete_stages,
    help="The last stage to run, such as data, plan, train or evaluate.",
)
@overrides_option
def run(face: Face, *, recipe: str, until: str | None, overrides: tuple[str, ...]) -> int:
    """Run a recipe's stages: what is there is reused, what was broken off goes on."""
    return _run(face, recipe, until, overrides)


@command()
@recipe_argument
@overrides_option
def plan(face: Face, *, recipe: str, overrides: tuple[str, ...]) -> int:
    """Stage 3: what a run will take and why, before anything is loaded."""
    return _run(face, recipe, "plan", overrides)


@command()
@recipe_argument
@click.option("--resume", is_flag=True, help="Only take up a run that was begun; refuse to begin one.")
@overrides_option
def train(face: Face, *, recipe: str, resume: bool, overrides: tuple[str, ...]) -> int:
    """Stage 4: train by a recipe; an interrupted run goes on."""
    return _run(face, recipe, "train", overrides, resume=resume)


@command()
@recipe_argument
@overrides_option
def evaluate(face: Face, *, recipe: str, overrides: tuple[str, ...]) -> int:
    """Stage 5: compare the tuned model with its base and judge the gates."""
    return _run(face, recipe, "evaluate", overrides)


def _run(face: Face, recipe: str, until: str | None, overrides: tuple[str, ...], *, resume: bool = False) -> int:
    from luthier.api.run import run as run_recipe

    result = run_recipe(
        recipe,
        until=until,
        overrides=overrides,
        resume=resume,
        workspace=face.workspace,
        progress=face.progress(),
    )
    face.show(to_json(result), *draw(result))
    if result.denied is not None:
        face.complain(result.denied)
    return find_exit_code(result)


def find_exit_code(result: CorridorResult) -> int:
    """Return 5 where a stage waits, 3 where a gate failed or is inconclusive, else 0."""
    if result.waiting is not None:
        return WAITING
    return DENIED if result.is_denied else 0


def to_json(result: CorridorResult) -> dict[str, Any]:
    """Return the one object of ``--json``: the stages, and the last stage's record where it is a plan."""
    shown = result.to_json()
    last = result.stages[-1] if result.stages else None
    if last is not None and last.stage == "plan":
        shown["plan"] = last.record.to_json()
    return shown


def draw(result: CorridorResult) -> list[RenderableType]:
    """Lay the corridor out: one line a stage, then what the last stage has to say."""
    rows = [
        (stage.stage, "reused" if stage.reused else f"{stage.seconds:,.1f} s", stage.digest[:12], stage.evidence)
        for stage in result.stages
    ]
    parts: list[RenderableType] = [draw_table(rows, columns=("stage", "time", "record", "evidence"), right=("time",))]
    last = result.stages[-1] if result.stages else None
    if result.waiting is not None:
        parts += ["", f"{result.waiting.stage} waits ({result.waiting.reason}): {result.waiting.detail}"]
    elif last is not None and last.stage == "plan":
        parts += ["", *draw_plan(last.record)]
    elif result.report is not None:
        parts += ["", *draw_report(result.report)]
    if result.release is not None:
        parts += ["", *draw_release(result.release, result.to_json()["parity"])]
    return [*parts, *draw_next(result)]


def draw_next(result: CorridorResult) -> list[RenderableType]:
    """Say how to talk to what was trained: the release, or the run where nothing was released."""
    if result.release is not None:
        return [f"talk to it: luthier chat release:{result.release.identity.name}"]
    if result.run_id is None:
        return []
    why = "nothing is released, and the tuned model is there all the same; " if result.is_denied else ""
    return [f"{why}talk to it: luthier chat run:{result.run_id}"]


def draw_plan(record: Plan) -> list[RenderableType]:
    """Lay a plan out: what it takes, then every decision with its reason."""
    identity, witness = record.identity, record.witness
    parts = {name: f"{size / 2**20:,.0f} MiB" for name, size in witness.memory_bytes.items()}
    facts = {
        "memory": f"{witness.peak_memory_bytes / 2**30:.2f} GiB at the peak",
        "time": f"{witness.seconds_estimate / 60:,.1f} minutes at {witness.rate_tokens_per_second:,.0f} tokens/s",
        "rows": f"{identity.num_examples:,}, {witness.num_tokens:,} tokens, {witness.num_trained_tokens:,} trained",
        "steps": f"{identity.num_steps:,} of up to {identity.batch_tokens:,} tokens",
    }
    reasons = [(reason.field, reason.value, reason.reason) for reason in witness.reasons]
    return [
        draw_facts(facts),
        "",
        draw_facts({f"memory: {name}": size for name, size in parts.items()}),
        "",
        draw_table(reasons, columns=("decision", "value", "reason")),
    ]


def draw_report(record: Report) -> list[RenderableType]:
    """Lay a report out: numbers with intervals, differences, gates."""
    identity = record.identity
    metrics = [
        (value.metric, value.system, f"{value.value:.4g}", _interval(value.interval), value.n, value.method)
        for value in identity.metrics
    ]
    differences = [
        (
            item.metric,
            f"{item.second} - {item.first}",
            f"{item.value:+.4g}",
            _interval(item.interval),
            f"{item.p:.2g}",
            item.n,
        )
        for item in identity.differences
    ]
    gates = [(gate.metric, f"{gate.rule} {gate.against}", gate.verdict, gate.reason) for gate in identity.gates]
    parts: list[RenderableType] = [
        draw_table(metrics, columns=("metric", "system", "value", "95 % interval", "n", "by"), right=("value", "n"))
    ]
    if differences:
        columns = ("metric", "difference", "value", "95 % interval", "p", "n")
        parts += ["", draw_table(differences, columns=columns, right=("value", "p", "n"))]
    if gates:
        parts += ["", draw_table(gates, columns=("gate", "rule", "verdict", "because"))]
    parts += ["", f"verdict: {identity.verdict}"]
    if record.witness.html:
        parts.append(f"report: {record.witness.html}")
    return parts


def _interval(bounds: tuple[float, float]) -> str:
    return f"{bounds[0]:.4g} to {bounds[1]:.4g}"


def draw_release(record: Release, parity: dict[str, Any]) -> list[RenderableType]:
    """Lay a release out: its parity certificate, its name and where it lies."""
    return [
        *draw_parity(parity),
        f"release: {record.identity.name}@{record.digest[:12]} in {record.witness.folder}",
    ]
