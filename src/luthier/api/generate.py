"""Answer rows with any model that a reference names; also how a reference becomes a model in memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.foundation.core.errors import DataError, ModelError, RecipeError
from luthier.foundation.core.progress import Progress, SilentProgress
from luthier.foundation.schema.rows import Message, Row
from luthier.foundation.store.workspace import Workspace

if TYPE_CHECKING:
    from numpy import int32
    from numpy.typing import NDArray

    from luthier.instruments.engine.load import LoadedModel
    from luthier.instruments.text.tokens import TextTokenizer
    from luthier.lifecycle.references import Reference


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
        One object a row: ``id``, ``answer``, ``finish_reason``, and ``reference`` where the row has an answer.

    Raises:
        RecipeError: E-LIF-007 for a reference that names nothing.
        DataError: When the file cannot be read or a row cannot be asked.
        EvalError: E-EVA-001 when a prompt leaves no room for an answer.
    """
    from luthier.lifecycle.references import resolve_reference

    wanted = generation or Generation()
    rows = _read_rows(path, wanted)
    store = Workspace.open(workspace)
    reference = resolve_reference(ref, workspace=store, locate=locate_base)
    tokenizer = open_tokenizer(reference, store)
    prompts = [_encode_question(row, tokenizer) for row in rows]
    loaded = open_model(reference, store)
    answers = _answer(loaded, prompts, tokenizer, wanted, progress or SilentProgress())
    return [
        {"id": row.id, **answer, **({"reference": row.messages[-1].text} if _has_answer(row) else {})}
        for row, answer in zip(rows, answers, strict=True)
    ]


def locate_base(base: str) -> Path:
    """Return the folder of a base by catalogue name or path; relative paths start at the current folder.

    Raises:
        EnvironmentLacks: E-ENV-005 when it was not pulled.
        ModelError: E-MOD-004 for what is neither a name nor a folder.
    """
    from luthier.stages.model.stage import locate_base as locate

    return locate(base, base_folder=Path.cwd(), environment=os.environ)


def open_tokenizer(reference: Reference, workspace: Workspace) -> TextTokenizer:
    """Load a reference's tokenizer with the chat template that it was trained with.

    Args:
        reference: What to open.
        workspace: Where a run's chat template lies.

    Raises:
        ModelError: When files are missing or damaged.
    """
    from luthier.foundation.schema.model import ModelChoice
    from luthier.instruments.text.tokens import load_tokenizer
    from luthier.instruments.text.tool_templates import choose_tool_template

    _refuse_gguf(reference)
    tokenizer = load_tokenizer(reference.base_folder)
    choice = workspace.records.get(reference.model) if reference.model else None
    if isinstance(choice, ModelChoice):
        return tokenizer.with_chat_template(workspace.blobs.get(choice.identity.chat_template).decode())
    if tokenizer.chat_template is None:
        return tokenizer
    _, template = choose_tool_template(tokenizer.chat_template)
    return tokenizer.with_chat_template(template)


def open_model(reference: Reference, workspace: Workspace) -> LoadedModel:
    """Load a reference's weights: the base, and what was trained on it.

    Args:
        reference: What to open.
        workspace: Where a run's files lie.

    Raises:
        ModelError: E-ENG-005 when an adapter was trained on another base; for folders that are unsafe or damaged.
    """
    from luthier.foundation.registry import load_runtime
    from luthier.instruments.engine.load import load_model
    from luthier.lifecycle.references import lay_out
    from luthier.stages.model.folder import check_safe, compute_weights_digest

    _refuse_gguf(reference)
    check_safe(reference.base_folder)
    digest = compute_weights_digest(reference.base_folder)
    loaded = load_model(reference.base_folder, base_name=reference.base, base_digest=digest)
    trained = lay_out(reference, workspace)
    if trained is not None:
        load_runtime("methods", reference.method).load(loaded, trained, digest)
    return loaded


def _refuse_gguf(reference: Reference) -> None:
    if reference.kind == "gguf":
        raise ModelError(
            "E-REC-010",
            "GGUF files are not run by this version",
            got=reference.ref,
            allowed="base, run:ID, or the path of a model folder or a PEFT adapter",
            fix="luthier model list",
        )


def _read_rows(path: Path, wanted: Generation) -> list[Row]:
    from luthier.stages.data.readers.source import Reading, read_rows

    read = read_rows(Reading(path, form=wanted.form))
    read.raise_problems()
    return read.rows[: wanted.num_rows]


def _has_answer(row: Row) -> bool:
    return bool(row.messages) and row.messages[-1].role == "assistant"


def _encode_question(row: Row, tokenizer: TextTokenizer) -> NDArray[int32]:
    from luthier.instruments.text.encode import encode_prompt

    question: Sequence[Message] = row.messages[:-1] if _has_answer(row) else row.messages
    if not question:
        raise DataError(
            "E-DAT-003",
            "the row asks nothing",
            got=f"a row of kind {row.kind}",
            origin=str(row.origin),
            allowed="a conversation with at least one user message",
            fix="give rows as {messages: [{role: user, content: …}]}",
        )
    return encode_prompt(question, row.tools, tokenizer, origin=str(row.origin))


def _answer(
    loaded: LoadedModel,
    prompts: Sequence[NDArray[int32]],
    tokenizer: TextTokenizer,
    wanted: Generation,
    progress: Progress,
) -> list[dict[str, Any]]:
    from pydantic import ValidationError

    from luthier.foundation.registry import load_config, load_runtime

    try:
        config = load_config("runtimes", "torch_batched").model_validate(
            {"max_new_tokens": wanted.max_new_tokens, "temperature": wanted.temperature, "top_p": wanted.top_p}
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise RecipeError(
            "E-REC-002",
            f"{first['loc'][0]} does not accept this value",
            got=first["input"],
            allowed=first["msg"],
            fix="luthier generate --help",
            field=str(first["loc"][0]),
        ) from error
    runtime = load_runtime("runtimes", "torch_batched")
    with progress.task("generate", total=len(prompts), unit="rows") as task:
        answers = runtime.generate(
            loaded,
            prompts,
            config,
            end_ids=tokenizer.end_token_ids,
            seed=wanted.seed,
            on_batch=lambda batch, _: task.advance(len(batch.rows)),
        )
    return [
        {
            "answer": tokenizer.decode(list(answer.token_ids), skip_special=True),
            "finish_reason": answer.finish_reason,
            "num_tokens": len(answer.token_ids),
        }
        for answer in answers
    ]
