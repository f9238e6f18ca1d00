"""Drive a recipe through its stages; ``plan``, ``train`` and ``evaluate`` are the same corridor, ended earlier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.api.recipes import resolve
from luthier.foundation.core.progress import Progress, SilentProgress
from luthier.foundation.schema.sections import Recipe

if TYPE_CHECKING:
    from luthier.lifecycle.result import CorridorResult


def run(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    *,
    until: str | None = None,
    overrides: Sequence[str] = (),
    resume: bool = False,
    workspace: Path | None = None,
    progress: Progress | None = None,
) -> CorridorResult:
    """Run a recipe's stages in order; what is there is reused, what was broken off goes on.

    Args:
        recipe: A file, plain values, or a recipe built in Python.
        until: The last stage; None for the last that this version builds.
        overrides: ``dotted.key=value`` each.
        resume: Refuse to begin a training; one that is there goes on, as it does anyway, or is reused.
        workspace: The folder that holds ``.luthier``; by default the nearest upwards, else here.
        progress: Told what a person should see.

    Returns:
        One result a stage with its record; ``verdict`` where evaluate was reached; ``denied`` where a gate that did
        not pass, or ``waiting`` where missing approvals, ended it before deploy.

    Raises:
        RecipeError: Every mistake at once, before anything heavy is loaded; E-LIF-009 for a training to resume
            that never began.
        LuthierError: What a stage raises.
    """
    from luthier.foundation.store.workspace import Workspace, find_workspace
    from luthier.lifecycle.corridor import run_recipe
    from luthier.lifecycle.resume import require_started
    from luthier.lifecycle.stages_table import list_until

    list_until(until)
    resolved = resolve(recipe, overrides=overrides)
    folder = workspace if workspace is not None else find_workspace(Path.cwd())
    opened, told = Workspace.open(folder), progress or SilentProgress()
    if resume:
        require_started(run_recipe(resolved, opened, progress=told, until="plan"), resolved, opened)
    return run_recipe(resolved, opened, progress=told, until=until)
