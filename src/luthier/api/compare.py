"""Two models on the same rows: second minus first, paired, with a verdict a metric."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.api.generate import locate_base, open_files, open_model, read_conversations
from luthier.foundation.core.progress import Progress, SilentProgress
from luthier.foundation.schema.report import Difference
from luthier.foundation.schema.rows import Row
from luthier.foundation.store.workspace import Workspace

if TYPE_CHECKING:
    from luthier.stages.evaluate.machine import ModelFiles
    from luthier.stages.evaluate.pairwise import Comparison
    from luthier.stages.evaluate.remote_model import RemoteModel

ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Comparing:
    """How two models are asked.

    Attributes:
        metrics: Names of metrics; the first decides which rows are listed as better and worse.
        max_questions: Draw this many by seed; None asks all.
        max_new_tokens: Longest answer.
        seed: Seed of the draw and of resampling.
        form: What the rows look like; ``auto`` looks.
        api_key_envs: Environment variables with the keys of models behind addresses, one for each, in order.
    """

    metrics: Sequence[str] = ("exact_match",)
    max_questions: int | None = None
    max_new_tokens: int = 128
    seed: int = 0
    form: str = "auto"
    api_key_envs: Sequence[str] = ()


def compare(
    first: str,
    second: str,
    path: Path,
    *,
    workspace: Path,
    comparing: Comparing | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Ask two models every assistant turn of a file after its true history and compare their answers.

    Args:
        first: A reference; ``base`` is the other one's base, and the default one beside an address.
        second: Another.
        path: A file of rows with answers.
        workspace: The folder that holds ``.luthier``.
        comparing: How they are asked.
        progress: Told how far it is.

    Returns:
        ``first``, ``second``, ``values``, ``differences`` (second minus first), ``verdicts``, ``better``, ``worse``
        and ``answers`` by question.

    Raises:
        RecipeError: E-LIF-007 for a reference that names nothing, E-REC-011 for a metric that does not exist.
        DataError: When the file cannot be read.
        EvalError: E-EVA-004 without questions, E-EVA-009 for a metric that fits none.
    """
    wanted = comparing or Comparing()
    _check_metrics(wanted)
    rows = list(read_conversations(path, form=wanted.form))
    return compare_rows(first, second, rows, workspace=workspace, comparing=wanted, progress=progress)


def compare_rows(
    first: str,
    second: str,
    rows: Sequence[Row],
    *,
    workspace: Path,
    comparing: Comparing | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Compare two models on rows that are read already; all else as :func:`compare`.

    Raises:
        RecipeError: E-LIF-007 for a reference that names nothing, E-REC-011 for a metric that does not exist.
        EvalError: E-EVA-004 without questions, E-EVA-009 for a metric that fits none.
    """
    from luthier.foundation.schema.sections import PluginChoice

    wanted = comparing or Comparing()
    _check_metrics(wanted)
    with _open_pair((first, second), wanted, Workspace.open(workspace)) as (left, right):
        from luthier.stages.evaluate.pairwise import AskOptions, compare_models

        found = compare_models(
            left,
            right,
            rows,
            metrics=[PluginChoice(type=metric) for metric in wanted.metrics],
            options=AskOptions(wanted.max_new_tokens, wanted.max_questions, wanted.seed),
            progress=progress or SilentProgress(),
        )
    return {"first": first, "second": second, **_to_json(found)}


@contextmanager
def _open_pair(
    refs: tuple[str, str], wanted: Comparing, store: Workspace
) -> Iterator[tuple[ModelFiles | RemoteModel, ModelFiles | RemoteModel]]:
    """Open both models; where one is an address, the other stands for itself."""
    from luthier.api.addresses import is_address, match_keys
    from luthier.lifecycle.references import resolve_pair

    keys = match_keys(refs, wanted.api_key_envs)
    if not any(is_address(ref) for ref in refs):
        left, right = resolve_pair(*refs, workspace=store, locate=locate_base)
        yield open_files(left, store), open_files(right, store)
        return
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(open_model(ref, store, api_key_env=key)) for ref, key in zip(refs, keys, strict=True)
        )
        yield first, second


def compare_preferences(
    first: str,
    second: str,
    rows: Sequence[Row],
    *,
    workspace: Path,
    comparing: Comparing | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Weigh both answers of preference pairs under two models; ``answers`` holds leads of the chosen one in nats.

    Raises:
        RecipeError: E-LIF-007 for a reference that names nothing, E-LIF-011 for an address, which weighs nothing,
            E-REC-011 for a metric that does not exist.
        EvalError: E-EVA-004 without pairs, E-EVA-009 for a metric that fits none.
    """
    from luthier.foundation.schema.sections import PluginChoice
    from luthier.lifecycle.references import resolve_pair

    wanted = comparing or Comparing(metrics=("pair_likelihood",))
    _check_metrics(wanted)
    store = Workspace.open(workspace)
    left, right = resolve_pair(first, second, workspace=store, locate=locate_base)
    from luthier.stages.evaluate.pairwise import AskOptions, compare_pairs

    found = compare_pairs(
        open_files(left, store),
        open_files(right, store),
        rows,
        metrics=[PluginChoice(type=metric) for metric in wanted.metrics],
        options=AskOptions(max_questions=wanted.max_questions, seed=wanted.seed),
        progress=progress or SilentProgress(),
    )
    return {"first": first, "second": second, **_to_json(found)}


def _check_metrics(comparing: Comparing) -> None:
    """Refuse a name before rows are read."""
    from luthier.foundation.registry import get_row

    for metric in comparing.metrics:
        get_row("metrics", metric)


def _to_json(found: Comparison) -> dict[str, Any]:
    return {
        "values": [value.model_dump(mode="json") for value in found.values],
        "differences": [item.model_dump(mode="json") for item in found.differences],
        "verdicts": {item.metric: give_verdict(item) for item in found.differences},
        "better": list(found.better),
        "worse": list(found.worse),
        "answers": {
            question: {"reference": reference, "first": one, "second": other}
            for question, (reference, one, other) in found.answers.items()
        },
    }


def give_verdict(item: Difference) -> str:
    """Say in one sentence what a paired difference shows at the five percent level."""
    if item.p >= ALPHA or item.value == 0:
        needed = f"; {item.needed:,} rows would settle it" if item.needed else ""
        return f"no difference is shown (p {item.p:.2g}){needed}"
    is_better = (item.value > 0) == item.higher_is_better
    return f"the second is {'better' if is_better else 'worse'} (p {item.p:.2g})"
