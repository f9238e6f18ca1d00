"""The demo: a made-up company's support desk through all seven stages, and what a sceptic wants to know of it.

There is no second way here: the company's files are written, its recipe goes through the same corridor as any other,
and the rest is read from the records.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from luthier.api.demo_memory import FamilyMemory
from luthier.foundation.core.files import write_atomic
from luthier.foundation.core.progress import Progress, SilentProgress

if TYPE_CHECKING:
    from luthier.api.demo_controls import Control
    from luthier.api.demo_planted import Found
    from luthier.examples.support_desk.write import CompanyFiles
    from luthier.foundation.schema.report import ReportIdentity
    from luthier.foundation.store.workspace import Workspace
    from luthier.lifecycle.result import CorridorResult
    from luthier.stages.data.ledger import Entry

FOLDER: Final = "demo"
PAGE_NAME: Final = "report.html"
DRIFT_NAME: Final = "drift.json"


@dataclass(frozen=True)
class Demo:
    """How the demo is run.

    Attributes:
        seed: Makes the company: names, numbers, requests, defects.
        minutes: What training may take; the recipe's own where None.
        has_controls: Run the honesty controls as well.
        overrides: ``dotted.key=value`` for the recipe, such as another base.
    """

    seed: int = 0
    minutes: float | None = None
    has_controls: bool = False
    overrides: Sequence[str] = ()


@dataclass(frozen=True)
class DemoResult:
    """What the demo showed.

    Attributes:
        company: The made-up company's name.
        corridor: The recipe's run.
        planted: What was found of the planted defects, by kind.
        drift: The verdict on the changed traffic; None where no release was made.
        changed_from: The day on which the traffic did change.
        controls: The honesty controls, where they were asked for.
        peak_memory_bytes: Of all processes together.
        report: The page.
    """

    company: str
    corridor: CorridorResult
    planted: dict[str, Found]
    drift: dict[str, Any] | None
    changed_from: str | None
    controls: tuple[Control, ...]
    peak_memory_bytes: int
    report: Path = field(default_factory=Path)

    @property
    def has_broken_control(self) -> bool:
        """Whether a control came out as it must not."""
        return not all(control.holds for control in self.controls)

    def to_json(self) -> dict[str, Any]:
        """Return the one object of ``demo --json``."""
        from luthier.api.demo_planted import to_json

        shown = self.corridor.to_json()
        report = self.corridor.report
        return {
            "company": self.company,
            "stages": shown["stages"],
            "planted": to_json(self.planted),
            "gain": describe_gain(report.identity) if report else None,
            "gates": shown.get("gates"),
            "verdict": shown.get("verdict"),
            "parity": shown.get("parity"),
            "drift": self.drift and {**self.drift, "changed_from": self.changed_from},
            **({"controls": {one.name: one.to_json() for one in self.controls}} if self.controls else {}),
            "release": shown.get("release"),
            "run": shown.get("run"),
            "peak_memory_bytes": self.peak_memory_bytes,
            "report": str(self.report),
            **({"denied": shown["denied"]} if "denied" in shown else {}),
        }


def demo(wanted: Demo, *, workspace: Path, progress: Progress | None = None) -> DemoResult:
    """Run the demo; what is there is reused, what was broken off goes on.

    Args:
        wanted: Seed, minutes, controls.
        workspace: The folder that holds ``.luthier``.
        progress: Told what a person should see.

    Raises:
        EnvironmentLacks: E-ENV-005 when the base was not pulled, before anything is written.
        LuthierError: What a stage raises.
    """
    from luthier.api.demo_page import PageFacts, render
    from luthier.api.demo_planted import judge_planted, read_labels
    from luthier.api.run import run
    from luthier.foundation.store.workspace import Workspace

    told = progress or SilentProgress()
    overrides = list_overrides(wanted)
    require_base(overrides)
    opened = Workspace.open(workspace)
    files = write_files(opened.folder / FOLDER / f"seed-{wanted.seed}", wanted.seed, told)

    def run_changed(changes: tuple[str, ...], until: str | None = "evaluate") -> CorridorResult:
        return run(files.recipe, overrides=(*overrides, *changes), until=until, workspace=workspace, progress=told)

    with FamilyMemory() as memory:
        corridor = run_changed((), until=None)
        drift = find_drift(corridor, files, opened)
        controls = run_asked_controls(wanted, corridor, files, run_changed)
    entries = list_entries(corridor, opened, files.train)
    steps = corridor.stages[0].record.identity.operators
    operators = [str(step["operator"]) for step in steps if "operator" in step]  # the selector stands there too
    result = DemoResult(
        company=files.company,
        corridor=corridor,
        planted=judge_planted(read_labels(files.labels), entries, operators=operators),
        drift=drift,
        changed_from=json.loads(files.traffic_facts.read_text(encoding="utf-8"))["changed_from"],
        controls=controls,
        peak_memory_bytes=max(memory.peak_bytes, *find_peaks(corridor)),
        report=files.recipe.parent / PAGE_NAME,
    )
    page = render(result, PageFacts(entries, opened.blobs, seed=wanted.seed))
    write_atomic(result.report, page.encode())
    return result


def list_overrides(wanted: Demo) -> tuple[str, ...]:
    """Return what the demo's options change in the recipe."""
    minutes = () if wanted.minutes is None else (f"plan.minutes={wanted.minutes:g}",)
    return (f"seed={wanted.seed}", *minutes, *wanted.overrides)


def require_base(overrides: Sequence[str]) -> None:
    """Refuse to begin without the base.

    Raises:
        EnvironmentLacks: E-ENV-005 with the line that brings it.
    """
    from luthier.api.generate import locate_base
    from luthier.lifecycle.references import DEFAULT_BASE

    asked = [override.partition("=")[2] for override in overrides if override.startswith("model.base=")]
    locate_base(asked[-1] if asked else DEFAULT_BASE)


def write_files(folder: Path, seed: int, progress: Progress) -> CompanyFiles:
    """Write the company's files: the same seed gives the same bytes, and so the same records."""
    from luthier.examples.support_desk.write import write_company

    files = write_company(folder, seed)
    progress.say(f"{files.company}, a made-up company (seed {seed}): its support desk's rows are in {folder}")
    return files


def find_drift(corridor: CorridorResult, files: CompanyFiles, workspace: Workspace) -> dict[str, Any] | None:
    """Judge the company's traffic by the release's own reference; a verdict on the same two is kept and reused."""
    from luthier.api.monitor import Watching, drift
    from luthier.foundation.core.hashing import sha256_bytes

    if corridor.release is None:
        return None
    digest = corridor.release.digest
    key = f"{digest} {sha256_bytes(files.traffic.read_bytes())}"
    kept = files.traffic.parent / DRIFT_NAME
    if kept.is_file():
        before: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        if before["key"] == key:
            return dict(before["found"])
    found = drift(files.traffic, workspace=workspace.root, watching=Watching(release=digest))
    write_atomic(kept, (json.dumps({"key": key, "found": found}, default=str) + "\n").encode())
    return found


def run_asked_controls(wanted: Demo, corridor: CorridorResult, files: CompanyFiles, run: Any) -> tuple[Control, ...]:  # noqa: ANN401  a function of overrides
    """Run the controls where they were asked for and there is a plan to compare with."""
    from luthier.api.demo_controls import run_controls

    planned = corridor.find("plan")
    if not wanted.has_controls or planned is None:
        return ()
    number = planned.record.identity.num_examples
    return run_controls(files.train, num_examples=number, seed=wanted.seed, run=run)


def list_entries(corridor: CorridorResult, workspace: Workspace, train: Path) -> list[Entry]:
    """Return the ledger's lines that speak of the training file."""
    from luthier.stages.data.ledger import read_ledger

    data = corridor.stages[0].record
    entries = read_ledger(data.identity.ledger, workspace.blobs)
    return [entry for entry in entries if Path(entry.origin.file).name == train.name]


def find_peaks(corridor: CorridorResult) -> list[int]:
    """Return the peaks that the records tell of, which a reused run did not see itself."""
    witnesses = [found.record.witness for name in ("train", "evaluate") if (found := corridor.find(name))]
    return [int(witness.peak_memory_bytes) for witness in witnesses]


def describe_gain(report: ReportIdentity) -> dict[str, Any]:
    """Return the first metric of every system, and tuned minus base with its interval."""
    metric = report.metrics[0].metric
    values = {one.system: one.value for one in report.metrics if one.metric == metric}
    pairs = [one for one in report.differences if (one.metric, one.first, one.second) == (metric, "base", "tuned")]
    found: dict[str, Any] = {"metric": metric}
    found |= {system: values.get(system) for system in ("base", "base_few_shot", "copy", "tuned")}
    if pairs:
        (gain,) = pairs
        found |= {"difference": gain.value, "interval": list(gain.interval), "p": gain.p}
        found |= {"n": gain.n, "clusters": gain.clusters}
    return found | {"verdict": report.verdict}
