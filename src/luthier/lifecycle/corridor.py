"""The corridor: the one place that knows the order of the stages. Read :func:`run_recipe` first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from luthier.foundation.core.errors import PolicyDenied
from luthier.foundation.core.progress import Progress
from luthier.foundation.recipe.resolve import ResolvedRecipe
from luthier.foundation.registry import load_config
from luthier.foundation.schema.approval import Approval
from luthier.foundation.schema.protocols import Waiting
from luthier.foundation.store.workspace import Workspace
from luthier.lifecycle.approval import DENIED, HELD, check_door, find_author
from luthier.lifecycle.boundary import interruptible
from luthier.lifecycle.cache import ConfigLoader
from luthier.lifecycle.execution import Corridor, Execution
from luthier.lifecycle.result import CorridorResult, StageResult
from luthier.lifecycle.stages_table import STAGES, StageSpec, list_until


def run_recipe(
    resolved: ResolvedRecipe,
    workspace: Workspace,
    *,
    progress: Progress,
    until: str | None = None,
    stages: Sequence[StageSpec] = STAGES,
    load: ConfigLoader = load_config,
) -> CorridorResult:
    """Run a recipe's stages in order: what is there is reused, what was broken off goes on.

    A Report that says FAIL or INCONCLUSIVE is stored like any other, and the corridor ends before the stage that it
    guards: ``result.denied`` says why, and how it is overridden.

    Args:
        resolved: The recipe, already checked as a whole.
        workspace: Where records, blobs and working folders lie.
        progress: Told what a person should see.
        until: The last stage; None for the last that this version builds.
        stages: All stages in order; tests bring their own.
        load: Gives a plug-in's config half.

    Returns:
        One result a stage; ``waiting`` is set where a stage waits, and running again goes on.

    Raises:
        RecipeError: E-LIF-001 or E-LIF-002 for an ``until`` that cannot be.
        Interrupted: E-LIF-005 after Ctrl-C or SIGTERM, state saved.
        LuthierError: What a stage raises.
    """
    chosen = list_until(until, stages)
    unbuilt = [spec.name for spec in stages if not spec.is_built]
    if until is None and unbuilt:
        progress.say(f"this version ends at {chosen[-1].name}: {' and '.join(unbuilt)} are not built yet")
    corridor = Corridor(resolved, workspace, progress, stages, load, find_author())
    results: dict[str, StageResult] = {}
    with interruptible("the corridor between two stages"):
        for spec in chosen:
            door = _look_at_door(corridor, spec, results)
            if isinstance(door, PolicyDenied):
                return CorridorResult(tuple(results.values()), denied=door)
            if isinstance(door, Waiting):
                return CorridorResult(tuple(results.values()), waiting=door)
            outcome = Execution(
                corridor,
                spec,
                section=getattr(resolved.recipe, spec.name),
                inputs={name: results[name].record for name in spec.inputs},
                digests={name: results[name].digest for name in spec.inputs},
                approved=door,
            ).run()
            if isinstance(outcome, Waiting):
                return CorridorResult(tuple(results.values()), waiting=outcome)
            results[spec.name] = outcome
    return CorridorResult(tuple(results.values()))


def _look_at_door(
    corridor: Corridor, spec: StageSpec, results: Mapping[str, StageResult]
) -> PolicyDenied | Waiting | dict[str, tuple[Approval, ...]]:
    """Return what closes the door before a stage, or the approvals that opened it, by the Report's digest."""
    if not spec.gated_by:
        return {}
    workspace, found = corridor.workspace, results[spec.gated_by]
    approvals = workspace.approvals.of(found.digest)
    needed = corridor.resolved.recipe.govern.approvals
    closed = check_door(found.record, found.digest, approvals, stage=spec.name, needed=needed)
    if closed is None:
        return {found.digest: approvals}
    action = DENIED if isinstance(closed, PolicyDenied) else HELD
    facts = {"stage": spec.name, "record": found.digest, "verdict": found.record.identity.verdict}
    workspace.audit.append(action, {**facts, "author": corridor.author})
    return closed
