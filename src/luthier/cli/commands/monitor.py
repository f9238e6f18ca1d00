"""``luthier monitor``: has traffic drifted, and dashboards to see it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from luthier.cli.face import Face, command, draw_table
from luthier.cli.options import check_output

VERDICTS = {
    "drift": "drift: traffic has moved away from the reference",
    "none": "no drift is shown",
    "too_few_rows": "too few rows for a verdict",
}
COLUMNS = ("signal", "verdict", "since", "found on", "size", "95 % interval", "statistic", "threshold")


@command()
@click.argument("release", metavar="[RELEASE]", required=False)
@click.option(
    "--traffic",
    metavar="FILE",
    type=click.Path(path_type=Path, exists=True),
    help="JSON lines with time, text and numbers, or a folder of such files.  [default: the release's traffic log]",
)
@click.option(
    "--reference",
    metavar="FILE",
    type=click.Path(path_type=Path, exists=True),
    help="Rows from before in the same form, instead of RELEASE.",
)
@click.option("--base", metavar="BASE", help="Whose embeddings read the texts.  [default: the release's, else pulled]")
@click.option(
    "--false-alarm-rate",
    type=click.FloatRange(0, 0.1, min_open=True),
    default=0.01,
    show_default=True,
    help="Greatest chance of any false alarm within sixty days.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the calibration's draws.")
@click.option(
    "--metrics",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=check_output,
    help="Also write the verdict for Prometheus' textfile collector.",
)
def drift(face: Face, *, release: str | None, traffic: Path | None, metrics: Path | None, **settings: Any) -> None:  # noqa: ANN401
    """Say whether traffic has moved away from a release's reference, since when and how far.

    A verdict is no error: the exit code is 0 whatever it is.
    """
    from luthier.api import monitor as api

    found = api.drift(traffic, workspace=face.workspace, watching=api.Watching(release=release, **settings))
    if metrics is not None:
        api.write_metrics(found, metrics, model=found["model"])
    rows = [_to_row(signal) for signal in found["signals"]]
    parts: list[Any] = [VERDICTS[found["verdict"]], "", draw_table(rows, columns=COLUMNS, right=COLUMNS[6:])]
    for signal in found["signals"]:
        if signal["state"] == "drift":
            measure = signal["size"]["measure"]
            parts += ["", f"{signal['signal']} ({measure}), rows that show it:", *map(_to_line, signal["examples"])]
    parts += [f"note: {note}" for note in found["notes"]]
    face.show(found, *parts)


def _to_row(signal: dict[str, Any]) -> list[Any]:
    if signal["state"] != "drift":
        verdict = "none" if signal["state"] == "none" else f"{signal['state'].replace('_', ' ')}: {signal['reason']}"
        return [signal["signal"], verdict, "", "", "", "", _number(signal["statistic"]), _number(signal["threshold"])]
    size = signal["size"]
    low, high = size["interval"]
    state = "drift" if signal["is_ongoing"] else "drift, not in the newest week"
    return [
        signal["signal"],
        state,
        signal["since"],
        signal["found_on"],
        f"{size['value']:.2f}",
        f"{low:.2f} to {high:.2f}",
        _number(signal["statistic"]),
        _number(signal["threshold"]),
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _to_line(example: dict[str, Any]) -> str:
    numbers = ", ".join(f"{key} {value:g}" for key, value in example.items() if isinstance(value, int | float))
    text = " ".join(str(example.get("text", "")).split())
    return "  " + "  ".join(part for part in (str(example.get("time", ""))[:16], numbers, text[:100]) if part)


@command()
def status(face: Face) -> None:
    """List the newest release of each name with what is watched and the traffic that was logged."""
    from luthier.api import monitor as api

    found = api.status(face.workspace)
    rows = [
        (
            one["name"],
            one["release"][:12],
            ", ".join(one["signals"]) or "nothing",
            one["num_rows"],
            one["days"],
            one["last_day"],
            f"{one['bytes']:,}",
        )
        for one in found
    ]
    columns = ("name", "release", "watched", "reference rows", "days of traffic", "last day", "bytes")
    table = draw_table(rows, columns=columns, right=(*columns[3:5], columns[6]))
    face.show({"releases": found}, table if found else f"no releases in {face.workspace} yet")


@command()
@click.argument("model", metavar="NAME")
@click.option(
    "--to",
    "target",
    metavar="DIR",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder to write into; made where it is not there.",
)
def dashboards(face: Face, *, model: str, target: Path) -> None:
    """Write a Grafana dashboard and Prometheus alert rules for a served release.

    NAME is what requests say as `model`.
    """
    from luthier.api import monitor as api

    found = api.write_dashboards(model, target)
    face.show(found, *(f"wrote {file}" for file in found["files"]))
