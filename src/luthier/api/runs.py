"""Training runs: list, compare, curves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from luthier.foundation.core.errors import RecipeError
from luthier.foundation.schema.run import Run
from luthier.foundation.store.executions import Execution
from luthier.foundation.store.workspace import Workspace

RUN_DIGITS = 12


def list_runs(folder: Path) -> list[dict[str, Any]]:
    """Describe every training run of a workspace, newest first, unfinished ones too.

    Args:
        folder: The folder that holds ``.luthier``.
    """
    workspace = Workspace.open(folder)
    if not workspace.folder.is_dir():
        return []
    return [_describe(workspace, execution) for execution in workspace.executions.find("", stage="train")]


def compare_runs(folder: Path, first: str, second: str) -> dict[str, Any]:
    """Put two runs side by side: their recipes' differences and what each gave.

    Args:
        folder: The folder that holds ``.luthier``.
        first: A run's ID or its first digits.
        second: Another's.

    Raises:
        RecipeError: E-STO-004 when a run is unknown.
    """
    workspace = Workspace.open(folder)
    both = [_find(workspace, run) for run in (first, second)]
    recipes = [_read_recipe(workspace, execution) for execution in both]
    keys = list(dict.fromkeys([*recipes[0], *recipes[1]]))
    changed = [key for key in keys if recipes[0].get(key) != recipes[1].get(key)]
    return {
        "runs": [_describe(workspace, execution) for execution in both],
        "recipe": [{"key": key, "first": recipes[0].get(key), "second": recipes[1].get(key)} for key in changed],
    }


def logs(folder: Path, run: str) -> dict[str, Any]:
    """Return a run's curve, and its failure where it has one.

    Args:
        folder: The folder that holds ``.luthier``.
        run: A run's ID or its first digits.

    Raises:
        RecipeError: E-STO-004 when the run is unknown.
    """
    from luthier.stages.train.metrics import METRICS_NAME, read_metrics

    workspace = Workspace.open(folder)
    execution = _find(workspace, run)
    place = _place(workspace, execution)
    failure = place / "failure.txt"
    return {
        "run": execution.cache_key[:RUN_DIGITS],
        "state": execution.state,
        "folder": str(place),
        "steps": list(read_metrics(place / METRICS_NAME)),
        "failure": failure.read_text(encoding="utf-8", errors="replace") if failure.is_file() else "",
    }


def _find(workspace: Workspace, run: str) -> Execution:
    found = workspace.executions.find(run, stage="train") if run and workspace.folder.is_dir() else []
    if len(found) == 1:
        return found[0]
    known = ", ".join(execution.cache_key[:RUN_DIGITS] for execution in found[:5])
    raise RecipeError(
        "E-STO-004",
        f"there is no run {run!r} in {workspace.root}" if not found else f"several runs begin with {run!r}",
        got=run or "nothing",
        allowed=known or "an ID that `luthier runs` lists",
        fix="luthier runs",
    )


def _place(workspace: Workspace, execution: Execution) -> Path:
    return workspace.folder / "runs" / execution.cache_key[:RUN_DIGITS]


def _describe(workspace: Workspace, execution: Execution) -> dict[str, Any]:
    described: dict[str, Any] = {
        "run": execution.cache_key[:RUN_DIGITS],
        "state": execution.state,
        "started": execution.started,
        "recipe": _read_recipe(workspace, execution).get("name"),
    }
    record = workspace.records.get(execution.record) if execution.record else None
    if isinstance(record, Run):
        identity, witness = record.identity, record.witness
        described |= {
            "digest": execution.record,
            "base": identity.base,
            "num_steps": identity.num_steps,
            "train_loss": identity.train_loss,
            "validation_loss": identity.validation_loss,
            "seconds": witness.seconds,
            "rate_tokens_per_second": witness.rate_tokens_per_second,
            "peak_memory_bytes": witness.peak_memory_bytes,
        }
    return described


def _read_recipe(workspace: Workspace, execution: Execution) -> dict[str, Any]:
    """Return the run's recipe by dotted path; nothing where its folder was swept."""
    import yaml

    from luthier.foundation.recipe.nodes import iterate_leaves

    place = _place(workspace, execution) / "recipe.yaml"
    if not place.is_file():
        return {}
    loaded = yaml.safe_load(place.read_text(encoding="utf-8"))
    return json.loads(json.dumps(dict(iterate_leaves(loaded)), default=str)) if isinstance(loaded, dict) else {}
