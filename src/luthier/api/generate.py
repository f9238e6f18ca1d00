"""Answer rows with any model that a reference names; also how a reference becomes files that can be asked."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from luthier.foundation.core.errors import DataError, RecipeError
from luthier.foundation.core.progress import Progress, SilentProgress
from luthier.foundation.schema.rows import Row
from luthier.foundation.store.workspace import Workspace

if TYPE_CHECKING:
    from luthier.lifecycle.references import Reference
    from luthier.stages.evaluate.machine import ModelFiles
    from luthier.stages.evaluate.remote_model import RemoteModel

MAX_TEMPERATURE: Final = 100
MAX_REMOTE_TEMPERATURE: Final = 2
"""What OpenAI's API takes."""


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
        api_key_env: Environment variable with the key of a model behind an address.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    num_rows: int | None = None
    form: str = "auto"
    api_key_env: str | None = None


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
        ref: ``base``, ``run:ID``, ``release:NAME``, the path of a model or an adapter, or ``http://HOST/v1#MODEL``.
        path: A file of rows.
        workspace: The folder that holds ``.luthier``.
        generation: How to answer.
        progress: Told how far it is.

    Returns:
        One object a row in the file's order: ``id``, ``answer``, ``finish_reason``, ``num_tokens`` (absent where a
        server does not count them), and ``reference`` where the row has an answer.

    Raises:
        RecipeError: E-LIF-007 and E-LIF-010 for a reference that names nothing, E-REC-002 for a bound that cannot be.
        DataError: When the file cannot be read or a row asks nothing.
        EvalError: E-EVA-001 when a prompt leaves no room for an answer.
        EnvironmentLacks: E-DEP-006 when the model's server does not answer, E-SRV-010 without its key.
    """
    from luthier.api.addresses import is_address, match_keys

    wanted = generation or Generation()
    _check_generation(wanted, is_remote=is_address(ref))
    (key,) = match_keys([ref], [wanted.api_key_env] if wanted.api_key_env else [])
    rows = read_conversations(path, form=wanted.form)[: wanted.num_rows]
    with open_model(ref, Workspace.open(workspace), api_key_env=key) as model:
        return _answer(model, rows, wanted, progress or SilentProgress())


@contextmanager
def open_model(ref: str, workspace: Workspace, *, api_key_env: str | None = None) -> Iterator[ModelFiles | RemoteModel]:
    """Open what a reference names, be it files or an address.

    Raises:
        LuthierError: As ``resolve_reference`` and ``open_address``.
    """
    from luthier.api.addresses import is_address, open_address
    from luthier.lifecycle.references import resolve_reference

    if not is_address(ref):
        yield open_files(resolve_reference(ref, workspace=workspace, locate=locate_base), workspace)
        return
    from luthier.stages.evaluate.remote_model import RemoteModel

    with open_address(ref, api_key_env=api_key_env) as client:
        yield RemoteModel(client)


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
        ModelError: For a folder that is unsafe, damaged, or holds a model that cannot write.
    """
    from luthier.foundation.core.model_files import compute_weights_digest
    from luthier.lifecycle.references import lay_out
    from luthier.stages.evaluate.machine import ModelFiles, TunedFiles
    from luthier.stages.model.folder import check_safe, check_writes

    check_safe(reference.base_folder)
    check_writes(reference.base_folder)
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


def _check_generation(wanted: Generation, *, is_remote: bool) -> None:
    hottest = MAX_REMOTE_TEMPERATURE if is_remote else MAX_TEMPERATURE
    bounds = {
        "max_new_tokens": 1 <= wanted.max_new_tokens <= 100_000,
        "temperature": 0 <= wanted.temperature <= hottest,
        "top_p": 0 < wanted.top_p <= 1,
        "num_rows": wanted.num_rows is None or wanted.num_rows >= 1,
    }
    for name, is_good in bounds.items():
        if not is_good:
            raise RecipeError(
                "E-REC-002",
                f"'{name}' does not accept this value",
                got=getattr(wanted, name),
                allowed=f"max_new_tokens 1 to 100000, temperature 0 to {hottest}, top_p above 0 and up to 1, num_rows "
                "from 1",
                fix="luthier generate --help",
                field=name,
            )


def _answer(
    model: ModelFiles | RemoteModel, rows: Sequence[Row], wanted: Generation, progress: Progress
) -> list[dict[str, Any]]:
    from luthier.stages.evaluate.pairwise import AskOptions, generate_answers

    options = AskOptions(max_new_tokens=wanted.max_new_tokens, seed=wanted.seed)
    found: dict[str, dict[str, Any]] = {}
    answers = generate_answers(model, rows, options=options, temperature=wanted.temperature, top_p=wanted.top_p)
    with progress.task("generate", total=len(rows), unit="rows") as task:
        for answer in answers:
            found[str(answer["id"])] = answer
            task.advance()
    return [{**found[row.id], **_show_reference(row)} for row in rows]


def _show_reference(row: Row) -> dict[str, str]:
    return {"reference": row.messages[-1].text} if row.messages[-1].role == "assistant" else {}
