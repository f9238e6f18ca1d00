"""The order of the seven stages, what each is given, and what each hands over."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from luthier.foundation.core.errors import DeployError, EvalError, LuthierError, RecipeError, StageFailed, TrainError
from luthier.foundation.schema.dataset import DatasetVersion
from luthier.foundation.schema.model import ModelChoice
from luthier.foundation.schema.monitoring import MonitorReference
from luthier.foundation.schema.noun import Record
from luthier.foundation.schema.plan import Plan
from luthier.foundation.schema.protocols import StageDeclaration, StageModule
from luthier.foundation.schema.release import Release
from luthier.foundation.schema.report import Report
from luthier.foundation.schema.run import Run


@dataclass(frozen=True)
class StageSpec:
    """One stage as the corridor knows it.

    Attributes:
        name: Also the command, the recipe section and the docs chapter.
        load: Imports the stage's module, and no other stage's.
        inputs: Stages whose records it is given.
        record_class: What it hands over; None where it is not built yet.
        folder: Where its working folder lies below ``.luthier``.
        failure: The error that its unexpected failures become.
        light: Imports what the stage declares, without torch; None where the module itself is light.
        gated_by: The input whose verdict and approvals open the door before it; empty where there is none.
    """

    name: str
    load: Callable[[], StageModule]
    inputs: tuple[str, ...] = ()
    record_class: type[Record[Any, Any]] | None = None
    folder: str = "work"
    failure: type[LuthierError] = StageFailed
    light: Callable[[], StageDeclaration] | None = None
    gated_by: str = ""

    @property
    def is_built(self) -> bool:
        """Whether this version can run it."""
        return self.record_class is not None

    def declare(self) -> StageDeclaration:
        """Import what the key and a reused record need of the stage."""
        return self.light() if self.light is not None else self.load()


def _loader(name: str) -> Callable[[], StageModule]:
    return lambda: cast("StageModule", importlib.import_module(f"luthier.stages.{name}.stage"))


def _light(name: str) -> Callable[[], StageDeclaration]:
    return lambda: cast("StageDeclaration", importlib.import_module(f"luthier.stages.{name}.declaration"))


STAGES: Final = (
    StageSpec("data", _loader("data"), record_class=DatasetVersion),
    StageSpec("model", _loader("model"), record_class=ModelChoice),
    StageSpec("plan", _loader("plan"), ("data", "model"), Plan),
    StageSpec(
        "train",
        _loader("train"),
        ("data", "model", "plan"),
        Run,
        folder="runs",
        failure=TrainError,
        light=_light("train"),
    ),
    StageSpec(
        "evaluate",
        _loader("evaluate"),
        ("data", "model", "plan", "train"),
        Report,
        failure=EvalError,
        light=_light("evaluate"),
    ),
    StageSpec(
        "deploy",
        _loader("deploy"),
        ("data", "model", "plan", "train", "evaluate"),
        Release,
        failure=DeployError,
        gated_by="evaluate",
        light=_light("deploy"),
    ),
    StageSpec("monitor", _loader("monitor"), ("deploy",), MonitorReference),
)


def find_stage(name: str, stages: Sequence[StageSpec] = STAGES) -> StageSpec:
    """Return a stage that this version can run.

    Raises:
        RecipeError: E-LIF-002 for an unknown name, E-LIF-001 for a stage that is not built.
    """
    by_name = {spec.name: spec for spec in stages}
    built = ", ".join(spec.name for spec in stages if spec.is_built)
    if name not in by_name:
        nearest = difflib.get_close_matches(name, list(by_name), n=1, cutoff=0.5)
        raise RecipeError(
            "E-LIF-002",
            f"there is no stage {name!r}" + (f"; nearest is {nearest[0]!r}" if nearest else ""),
            got=name,
            allowed=", ".join(by_name),
            fix=f"--until {nearest[0] if nearest else built.rpartition(' ')[2]}",
        )
    if not by_name[name].is_built:
        raise RecipeError(
            "E-LIF-001",
            f"the stage {name!r} is not built in this version",
            got=name,
            allowed=built,
            fix=f"--until {built.rpartition(' ')[2]}",
        )
    return by_name[name]


def list_until(until: str | None, stages: Sequence[StageSpec] = STAGES) -> tuple[StageSpec, ...]:
    """Return the stages to run, in order.

    Args:
        until: The last one; None for the last that is built.
        stages: All stages, in order.

    Raises:
        RecipeError: As :func:`find_stage`.
    """
    built = tuple(spec for spec in stages if spec.is_built)
    if until is None:
        return built
    return built[: built.index(find_stage(until, stages)) + 1]
