"""Training rows as training will see them: rendered, tokenised, those that are too long left out aloud."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from luthier.foundation.schema.dataset import DatasetVersion
from luthier.foundation.schema.model import ModelChoice
from luthier.foundation.schema.plan import Reason
from luthier.foundation.schema.plugins import ObjectiveConfig
from luthier.foundation.schema.protocols import Context
from luthier.foundation.schema.sections import TrainSection
from luthier.instruments.text.fit import FittedRows, fit_pairs, fit_rows
from luthier.instruments.text.pairs import PREFERENCE, Example
from luthier.instruments.text.tokens import load_tokenizer


def encode_training_rows(
    data: DatasetVersion, model: ModelChoice, train: TrainSection, objective: ObjectiveConfig, *, ctx: Context
) -> FittedRows[Example]:
    """Render and tokenise every training row as training will see it, none of them bad.

    Raises:
        DataError: one problem a bad row, the first twenty shown; E-TXT-009 for rows too long under ``refuse``.
    """
    template = ctx.blobs.get(model.identity.chat_template).decode()
    tokenizer = load_tokenizer(Path(model.witness.path), chat_template=template)
    split = data.identity.splits["train"]
    rows = ctx.blobs.get_rows(split.blob)  # one at a time: what is kept of a row are its tokens
    fit: Callable[..., FittedRows[Example]] = fit_pairs
    if PREFERENCE not in objective.ROW_KINDS:
        fit = partial(fit_rows, train_on=getattr(objective, "train_on", "assistant"))
    with ctx.progress.task("render rows", total=split.num_rows, unit="rows") as bar:
        fitted = fit(rows, tokenizer, max_length=train.max_length, too_long=train.too_long, on_row=bar.advance)
    fitted.encoded.raise_problems()
    for reason in tell_dropped(fitted, train):
        ctx.progress.say(reason.reason)
    return fitted


def tell_dropped(fitted: FittedRows[Example], train: TrainSection) -> tuple[Reason, ...]:
    """Say how many rows were left out for their length; nothing where none was."""
    if not fitted.dropped:
        return ()
    told = f"{len(fitted.dropped)} rows are longer than {train.max_length} tokens and are left out"
    return (Reason(field="train.too_long", value=train.too_long, reason=told),)


def read_ranking(data: DatasetVersion, ctx: Context) -> list[str] | None:
    """Return the selector's order of row ids, where a selector ran."""
    ranking = data.identity.ranking
    return None if ranking is None else [str(line["id"]) for line in ctx.blobs.get_lines(ranking)]
