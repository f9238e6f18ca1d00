"""``luthier demo``: the whole lifecycle on a made-up company, with one table at the end and a page to read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from luthier.cli.commands.corridor import find_exit_code
from luthier.cli.face import Face, command, draw_facts, draw_table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from luthier.api.demo import DemoResult

FAILED: Final = 1


@command()
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Makes up another company.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="What training may take.  [default: 1.8]")
@click.option("--controls", "has_controls", is_flag=True, help="Also run what must not pass the gate.")
@click.option("--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Override a value of the demo's recipe.")
def demo(face: Face, *, seed: int, minutes: float | None, has_controls: bool, overrides: tuple[str, ...]) -> int:
    """Take a made-up company's support desk through all seven stages, with evidence that a sceptic can attack."""
    from luthier.api.demo import Demo
    from luthier.api.demo import demo as run_demo

    wanted = Demo(seed, minutes, has_controls, overrides)
    result = run_demo(wanted, workspace=face.workspace, progress=face.progress())
    face.show(result.to_json(), *draw(result))
    if result.corridor.denied is not None:
        face.complain(result.corridor.denied)
    if result.has_broken_control:
        return FAILED
    return find_exit_code(result.corridor)


def draw(result: DemoResult) -> list[RenderableType]:
    """Lay the demo out: one line a stage, then what was planted and found, then the figures that matter."""
    shown = result.to_json()
    stages = [
        (stage.stage, "reused" if stage.reused else f"{stage.seconds:,.1f} s", stage.digest[:12], stage.evidence)
        for stage in result.corridor.stages
    ]
    planted = [
        (
            kind.replace("_", " "),
            one.operator,
            one.n,
            one.caught,
            _percent(one.caught, one.n),
            _percent(one.right, one.named),
        )
        for kind, one in result.planted.items()
    ]
    controls = [
        (control.what, control.result.verdict, "as it must" if control.holds else "DOES NOT HOLD")
        for control in result.controls
    ]
    columns = ("planted", "operator", "rows", "caught", "recall", "precision")
    parts: list[RenderableType] = [
        draw_table(stages, columns=("stage", "time", "record", "evidence"), right=("time",)),
        "",
        draw_table(planted, columns=columns, right=columns[2:]),
        "",
        draw_facts(_list_facts(result, shown)),
    ]
    if controls:
        parts += ["", draw_table(controls, columns=("control", "verdict", "outcome"))]
    return [*parts, "", f"report: {result.report}"]


def _list_facts(result: DemoResult, shown: dict[str, object]) -> dict[str, object]:
    gain, drift = shown["gain"], result.drift
    facts: dict[str, object] = {"company": f"{result.company} (made up)"}
    if isinstance(gain, dict):
        systems = ("base", "base_few_shot", "copy", "tuned")
        figures = ", ".join(f"{name} {gain[name]:.3f}" for name in systems if gain[name] is not None)
        facts[gain["metric"]] = figures
        if "difference" in gain:
            low, high = gain["interval"]
            facts["gain"] = (
                f"{gain['difference']:+.3f} ({low:+.3f} to {high:+.3f}), p {gain['p']:.2g}, {gain['n']} requests in "
                f"{gain['clusters']} cases: {gain['verdict']}"
            )
    if drift:
        since = f" since {drift['since']}" if drift["since"] else ""
        facts["drift"] = f"{drift['verdict']}{since}; the traffic did change on {result.changed_from}"
    facts["memory"] = f"{result.peak_memory_bytes / 2**30:.2f} GiB at the peak, all processes together"
    return facts


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "-"
