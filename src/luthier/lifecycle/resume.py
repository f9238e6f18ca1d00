"""What ``train --resume`` promises: that there is a run of this recipe to take up, not another to begin."""

from __future__ import annotations

from collections.abc import Sequence

from luthier.foundation.core.errors import RecipeError
from luthier.foundation.core.progress import SilentProgress
from luthier.foundation.recipe.resolve import ResolvedRecipe
from luthier.foundation.registry import load_config
from luthier.foundation.store.workspace import Workspace
from luthier.lifecycle.approval import find_author
from luthier.lifecycle.cache import ConfigLoader
from luthier.lifecycle.execution import Corridor, Execution
from luthier.lifecycle.result import CorridorResult
from luthier.lifecycle.stages_table import STAGES, StageSpec, find_stage


def require_started(
    planned: CorridorResult,
    resolved: ResolvedRecipe,
    workspace: Workspace,
    *,
    stages: Sequence[StageSpec] = STAGES,
    load: ConfigLoader = load_config,
) -> None:
    """Refuse to resume a training that never began with this recipe and these rows.

    Args:
        planned: What the stages before training handed over.
        resolved: The recipe.
        workspace: Where the run would be.
        stages: All stages in order; tests bring their own.
        load: Gives a plug-in's config half.

    Raises:
        RecipeError: E-LIF-009.
    """
    spec = find_stage("train", stages)
    results = {result.stage: result for result in planned.stages}
    key = Execution(
        Corridor(resolved, workspace, SilentProgress(), stages, load, find_author()),
        spec,
        section=resolved.recipe.train,
        inputs={name: results[name].record for name in spec.inputs},
        digests={name: results[name].digest for name in spec.inputs},
    ).find_key()
    if workspace.executions.get(key) is None:
        started = [execution.cache_key[:12] for execution in workspace.executions.find("", stage=spec.name)]
        raise RecipeError(
            "E-LIF-009",
            "there is no run of this recipe to resume",
            got=f"run {key[:12]}, which never began; begun were {', '.join(started[:5]) or 'none'}",
            origin=str(workspace.root),
            allowed="the recipe, rows and base of a run in `luthier runs`",
            fix="luthier train RECIPE",
        )
