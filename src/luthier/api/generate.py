"""Answer rows with any model that a reference names; also how a reference becomes files that can be asked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.foundation.core.errors import DataError, ModelError, RecipeError
from luthier.foundation.core.progress import Progress, SilentProgress
from luthier.foundation.schema.rows import Row
from luthier.foundation.store.workspace import Workspace

if TYPE_CHECKING:
    from luthier.lifecycle.references import Reference
    from luthier.stages.evaluate.pairwise import ModelFiles


@dataclass(frozen=True, slots=True)
class Generation:
    """How to answer.

    Attributes:
        max_new_tokens: Longest answer.
        temperature: 0 is greedy.
        top_p: Share of the probability that may be drawn from.
        seed: Seed of the draws; not used when greedy.
        num_rows: How many rows of the file are answered; None for all.
        form: What its rows look like; ``auto`` looks.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    num_rows: int | None = None
    form: str = "auto"


def generate(
    ref: str,
    path: Path,
    *,
    workspace: Path,
    generation: Generation | None = None,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Answer every row of a file: a conversation's last assistant turn is left out and asked for.

    Args:
        ref: ``base``, ``run:ID``, or the path of a model folder or a PEFT adapter.
        path: A file of rows.
        workspace: The folder that holds ``.luthier``.
        generation: How to answer.
        progress: Told how far it is.

    Returns:
        One object a row in the file's order: ``id``, ``answer``, ``finish_reason``, ``num_tokens``, and
        ``reference`` where the row has an answer.

    Raises:
        RecipeError: E-LIF-007 for a reference that names nothing, E-REC-002 for a bound that cannot be.
        DataError: When the file cannot be read or a row asks nothing.
        EvalError: E-EVA-001 when a prompt leaves no room for an answer.
    """
    from luthier.lifecycle.references import resolve_reference

    wanted = generation or Generation()
    _check_generation(wanted)
    rows = read_conversations(path, form=wanted.form)[: wanted.num_rows]
    store = Workspace.open(workspace)
    files = open_files(resolve_reference(ref, workspace=store, locate=locate_base), store)
    return _answer(files, rows, wanted, progress or SilentProgress())


def locate_base(base: str) -> Path:
    """Return the folder of a base by catalogue name or path; relative paths start at the current folder.

    Raises:
        EnvironmentLacks: E-ENV-005 when it was not pulled.
        ModelError: E-MOD-004 for what is neither a name nor a folder.
    """
    from luthier.stages.model.stage import locate_base as locate

    return locate(base, base_folder=Path.cwd(), environment=os.environ)


def open_files(reference: Reference, workspace: Workspace) -> ModelFiles:
    """Return what a reference is made of: base, trained files, the chat template that it was trained with.

    Args:
        reference: What to open.
        workspace: Where a run's files and template lie.

    Raises:
        ModelError: For a folder that is unsafe or damaged, and for GGUF files, which are not run.
    """
    from luthier.foundation.core.model_files import compute_weights_digest
    from luthier.lifecycle.references import lay_out
    from luthier.stages.evaluate.machine import TunedFiles
    from luthier.stages.evaluate.pairwise import ModelFiles
    from luthier.stages.model.folder import check_safe

    if reference.kind == "gguf":
        raise ModelError(
            "E-REC-010",
            "GGUF files are not run by this version",
            got=reference.ref,
            allowed="base, run:ID, or the path of a model folder or a PEFT adapter",
            fix="luthier model list",
        )
    check_safe(reference.base_folder)
    trained = lay_out(reference, workspace)
    tuned = None
    if trained is not None:
        tuned = TunedFiles(trained, reference.method, compute_weights_digest(reference.base_folder))
    return ModelFiles(reference.base_folder, tuned, _find_template(reference, workspace))


def _find_template(reference: Reference, workspace: Workspace) -> str | None:
    from luthier.foundation.schema.model import ModelChoice
    from luthier.instruments.text.tokens import load_tokenizer
    from luthier.instruments.text.tool_templates import choose_tool_template

    choice = workspace.records.get(reference.model) if reference.model else None
    if isinstance(choice, ModelChoice):
        return workspace.blobs.get(choice.identity.chat_template).decode()
    own = load_tokenizer(reference.base_folder).chat_template
    return None if own is None else choose_tool_template(own)[1]


def read_conversations(path: Path, *, form: str = "auto") -> list[Row]:
    """Read a file whose every row asks something.

    Args:
        path: A file of rows.
        form: What its rows look like; ``auto`` looks.

    Raises:
        DataError: When the file or a row cannot be read, or a row asks nothing.
    """
    from luthier.stages.data.readers.source import Reading, read_rows

    read = read_rows(Reading(path, form=form))
    read.raise_problems(path)
    for row in read.rows:
        if row.kind != "conversation" or not any(message.role == "user" for message in row.messages):
            raise DataError(
                "E-DAT-003",
                "the row asks nothing",
                got=f"a row of kind {row.kind}",
                origin=str(row.origin),
                allowed="a conversation with at least one user message",
                fix='give rows as {"messages": [{"role": "user", "content": "…"}]}',
            )
    return list(read.rows)


def _check_generation(wanted: Generation) -> None:
    bounds = {
        "max_new_tokens": 1 <= wanted.max_new_tokens <= 100_000,
        "temperature": 0 <= wanted.temperature <= 100,
        "top_p": 0 < wanted.top_p <= 1,
        "num_rows": wanted.num_rows is None or wanted.num_rows >= 1,
    }
    for name, is_good in bounds.items():
        if not is_good:
            raise RecipeError(
                "E-REC-002",
                f"'{name}' does not accept this value",
                got=getattr(wanted, name),
                allowed="max_new_tokens 1 to 100000, temperature 0 to 100, top_p above 0 and up to 1, num_rows from 1",
                fix="luthier generate --help",
                field=name,
            )


def _answer(files: ModelFiles, rows: Sequence[Row], wanted: Generation, progress: Progress) -> list[dict[str, Any]]:
    from luthier.stages.evaluate.pairwise import AskOptions, generate_answers

    options = AskOptions(max_new_tokens=wanted.max_new_tokens, seed=wanted.seed)
    found: dict[str, dict[str, Any]] = {}
    answers = generate_answers(files, rows, options=options, temperature=wanted.temperature, top_p=wanted.top_p)
    with progress.task("generate", total=len(rows), unit="rows") as task:
        for answer in answers:
            found[str(answer["id"])] = answer
            task.advance()
    return [{**found[row.id], **_show_reference(row)} for row in rows]


def _show_reference(row: Row) -> dict[str, str]:
    return {"reference": row.messages[-1].text} if row.messages[-1].role == "assistant" else {}
