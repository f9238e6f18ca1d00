"""Stage 7 alone: has traffic moved away from a release's reference, or from rows of an earlier time?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.api.generate import locate_base
from luthier.foundation.core.errors import DataError, EnvironmentLacks, RecipeError
from luthier.foundation.core.files import write_atomic
from luthier.foundation.core.hashing import sha256_bytes
from luthier.foundation.store.workspace import Workspace

if TYPE_CHECKING:
    from luthier.instruments.text.static_embeddings import StaticEmbeddings
    from luthier.stages.monitor.reference import Reference
    from luthier.stages.monitor.watch import SignalVerdict

DEFAULT_RATE = 0.01
REFERENCE_NAME = "reference.json"
TELEMETRY_NAME = "telemetry"


@dataclass(frozen=True, slots=True)
class Watching:
    """How traffic is compared.

    Attributes:
        release: A release whose own reference is used; None where ``reference`` is given.
        reference: A file or folder of rows from before; None where ``release`` is given.
        base: Whose tokenizer and embeddings read the texts: a name or a model folder; by default the release's
            own, or the default base where it is pulled.
        false_alarm_rate: Greatest chance of any false alarm within sixty days.
        seed: Seed of the draws that set the thresholds.
    """

    release: str | None = None
    reference: Path | None = None
    base: str | None = None
    false_alarm_rate: float = DEFAULT_RATE
    seed: int = 0


def drift(traffic: Path | None, *, workspace: Path, watching: Watching) -> dict[str, Any]:
    """Compare traffic with its reference, as if every day had been looked at when it was over.

    Args:
        traffic: A file of JSON lines with ``time``, ``text`` and numbers, or a folder of such files; None for the
            traffic log that serving the release left in the workspace.
        workspace: The folder that holds ``.luthier``.
        watching: What it is compared with.

    Returns:
        ``verdict`` (``drift``, ``none`` or ``too_few_rows``), ``since``, ``model``, ``signals`` with a verdict
        each, ``reference``, ``traffic``, ``false_alarm_rate``, ``horizon_days`` and ``notes``.

    Raises:
        DataError: E-MON-001 to E-MON-007 and E-MON-009 for files that cannot be used.
        ModelError: E-MON-008 for a base without readable embeddings, where one is named.
        RecipeError: E-MON-010 for two references or none, E-MON-011 for another base than the reference's.
    """
    from luthier.instruments.measure.stats.drift import HORIZON_DAYS
    from luthier.stages.monitor.reference import refuse_empty
    from luthier.stages.monitor.signals import observe
    from luthier.stages.monitor.traffic import read_traffic
    from luthier.stages.monitor.watch import conclude, watch

    if traffic is None:
        traffic = _find_log(watching.release, workspace)
    read = read_traffic(traffic)
    reference, embeddings, notes = _open_reference(watching, workspace)
    refuse_empty(reference, origin=str(watching.release or watching.reference))
    observed = observe(read.rows, embeddings, why_no_base="; ".join(notes) or "the reference has no base")
    verdicts = watch(reference, observed, read.rows, rate=watching.false_alarm_rate)
    times = [row.time for row in read.rows if row.time is not None]
    starts = [verdict.since.isoformat() for verdict in verdicts if verdict.since is not None]
    return {
        "verdict": conclude(verdicts),
        "since": min(starts, default=None),
        "false_alarm_rate": watching.false_alarm_rate,
        "horizon_days": HORIZON_DAYS,
        "model": _name_model(watching.release, traffic, workspace),
        "reference": {
            "source": str(watching.release or watching.reference),
            "num_rows": reference.num_rows,
            "by_weekday": reference.by_weekday,
            "base": reference.base or None,
        },
        "traffic": {
            "source": str(traffic),
            "num_rows": len(read.rows),
            "first": times[0].isoformat(),
            "last": times[-1].isoformat(),
        },
        "signals": [_to_json(verdict) for verdict in verdicts],
        "notes": [*read.notes, *notes],
    }


def _name_model(release: str | None, traffic: Path, workspace: Path) -> str:
    """Return what metrics call the model: the release's name, as requests do, else the file's."""
    from luthier.lifecycle.releases import find_release

    return traffic.stem if release is None else find_release(Workspace.open(workspace), release).record.identity.name


def _find_log(release: str | None, workspace: Path) -> Path:
    from luthier.lifecycle.releases import find_release

    if release is None:
        raise _refuse_references("no traffic and no release whose traffic log could be read")
    store = Workspace.open(workspace)
    folder = store.folder / TELEMETRY_NAME / find_release(store, release).digest
    if not folder.is_dir():
        raise DataError(
            "E-MON-005",
            "no request to this release was logged here",
            got="no traffic log",
            origin=str(folder),
            allowed="a release that `luthier serve` served in this workspace",
            fix="--traffic FILE",
        )
    return folder


def _refuse_references(got: str) -> RecipeError:
    return RecipeError(
        "E-MON-010",
        "traffic is compared with one reference",
        got=got,
        allowed="RELEASE, or --reference FILE with --traffic FILE",
        fix="luthier monitor drift --reference before.jsonl --traffic after.jsonl",
    )


def _open_reference(watching: Watching, workspace: Path) -> tuple[Reference, StaticEmbeddings | None, list[str]]:
    """Return the reference, what reads texts as it did, and what a person should know."""
    from luthier.instruments.text.static_embeddings import open_embeddings
    from luthier.stages.monitor.reference import build_reference
    from luthier.stages.monitor.signals import observe
    from luthier.stages.monitor.traffic import read_traffic

    if (watching.release is None) == (watching.reference is None):
        raise _refuse_references("a release and a file" if watching.release else "neither a release nor a file")
    if watching.release is not None:
        return _open_release(watching.release, watching.base, workspace)
    notes: list[str] = []
    name = watching.base or _default_base()
    folder = _find_base(watching.base, name, notes)
    embeddings = open_embeddings(folder) if folder else None
    before = read_traffic(Path(str(watching.reference)))
    observed = observe(before.rows, embeddings, why_no_base="; ".join(notes))
    reference = build_reference(observed, seed=watching.seed, base=name if embeddings else "")
    return reference, embeddings, [f"reference: {note}" for note in before.notes] + notes


def _open_release(
    release: str, base: str | None, workspace: Path
) -> tuple[Reference, StaticEmbeddings | None, list[str]]:
    from luthier.foundation.core.model_files import compute_weights_digest
    from luthier.instruments.text.static_embeddings import open_embeddings
    from luthier.lifecycle.releases import find_release
    from luthier.stages.monitor.reference import from_bytes

    found = find_release(Workspace.open(workspace), release)
    path = found.folder / REFERENCE_NAME
    data = path.read_bytes() if path.is_file() else b""
    if sha256_bytes(data) != found.record.identity.files.get(path.name):
        raise DataError(
            "E-MON-007",
            "the release's reference is not as it was made",
            got="other bytes than the release's digest covers" if data else f"no {REFERENCE_NAME}",
            origin=str(path),
            allowed="the release as its deploy stage made it",
            fix=f"luthier release verify {release}",
        )
    reference = from_bytes(data, origin=str(path))
    notes: list[str] = []
    if not reference.base:
        return reference, None, notes
    folder = _find_base(base, base or reference.base, notes)
    if folder is not None and compute_weights_digest(folder) != reference.base_digest:
        raise RecipeError(
            "E-MON-011",
            "this is not the base that the reference was made with",
            got=str(folder),
            allowed=f"{reference.base}, weights {reference.base_digest[:12]}",
            fix="--base with the folder of the release's own base",
        )
    return reference, open_embeddings(folder) if folder else None, notes


def _default_base() -> str:
    from luthier.lifecycle.references import DEFAULT_BASE

    return DEFAULT_BASE


def _find_base(asked: str | None, name: str, notes: list[str]) -> Path | None:
    """Return a base's folder; without one that nobody asked for, topics are absent and the reason is noted."""
    try:
        return locate_base(name)
    except EnvironmentLacks:
        if asked is not None:
            raise
        notes.append(f"the base {name} is not here; `luthier model pull {name}` brings it")
        return None


def _to_json(verdict: SignalVerdict) -> dict[str, Any]:
    def plain(value: object) -> object:
        if isinstance(value, date):
            return value.isoformat()
        return list(value) if isinstance(value, tuple) else value

    found = {key: plain(value) for key, value in asdict(verdict).items()}
    if verdict.size is not None:
        found["size"] = {key: plain(value) for key, value in asdict(verdict.size).items()}
    return found


def status(workspace: Path) -> list[dict[str, Any]]:
    """Say of the newest release of each name what is watched and how much traffic was logged.

    Args:
        workspace: The folder that holds ``.luthier``.

    Returns:
        ``name``, ``release``, ``signals``, ``num_rows`` of the reference, and of the log ``days``, ``last_day`` and
        ``bytes``.

    Raises:
        DataError: E-MON-007 for a reference that cannot be read.
    """
    from luthier.lifecycle.releases import list_newest
    from luthier.stages.monitor.reference import from_bytes
    from luthier.stages.monitor.telemetry_log import iterate_files

    store = Workspace.open(workspace)
    found = []
    for release in list_newest(store):
        path = store.folder / "releases" / release.digest / REFERENCE_NAME
        reference = from_bytes(path.read_bytes(), origin=str(path)) if path.is_file() else None
        files = list(iterate_files(store.folder / TELEMETRY_NAME / release.digest))
        days = sorted({day for (day, _), _ in files})
        found.append(
            {
                "name": release.identity.name,
                "release": release.digest,
                "signals": [signal.name for signal in reference.signals] if reference else [],
                "num_rows": reference.num_rows if reference else 0,
                "days": len(days),
                "last_day": max(days, default=None),
                "bytes": sum(file.stat().st_size for _, file in files),
            }
        )
    return found


def write_metrics(found: Mapping[str, Any], path: Path, *, model: str) -> None:
    """Write a verdict as metrics for Prometheus' textfile collector.

    Args:
        found: What :func:`drift` returned.
        path: The file; its folder must exist.
        model: The label ``model``.
    """
    from luthier.stages.monitor.dashboards import render_drift_metrics

    write_atomic(path.absolute(), render_drift_metrics(model, found["signals"]).encode())


def write_dashboards(model: str, folder: Path) -> dict[str, Any]:
    """Write a dashboard for Grafana and alert rules for Prometheus.

    Args:
        model: Name under which the release is served.
        folder: Where they go; made where it is not there.
    """
    from luthier.stages.monitor.dashboards import make_dashboards

    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, text in make_dashboards(model).items():
        write_atomic(folder.absolute() / name, text.encode())
        files.append(str(folder / name))
    return {"model": model, "files": files}
