"""Training rows as training will see them: rendered, tokenised, those that are too long left out aloud."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

from luthier.foundation.schema.dataset import DatasetVersion
from luthier.foundation.schema.model import ModelChoice
from luthier.foundation.schema.plan import Reason
from luthier.foundation.schema.plugins import ObjectiveConfig
from luthier.foundation.schema.protocols import Context
from luthier.foundation.schema.rows import Row
from luthier.foundation.schema.sections import TrainSection
from luthier.instruments.text.fit import FittedRows, TooLong, fit_pairs, fit_rows
from luthier.instruments.text.pairs import PREFERENCE, Example
from luthier.instruments.text.tokens import TextTokenizer, load_tokenizer
from luthier.stages.plan.draft import Scored

SAMPLE_ROWS: Final = 256  # validation rows whose work stands for all


@dataclass(frozen=True)
class RowEncoder:
    """Renders and tokenises rows as training will see them.

    Attributes:
        tokenizer: The base's, with the chat template in use.
        train: Length, and what happens to rows beyond it.
        objective: Which kind of rows, and which turns of them are trained.
    """

    tokenizer: TextTokenizer
    train: TrainSection
    objective: ObjectiveConfig

    @classmethod
    def load(cls, model: ModelChoice, train: TrainSection, objective: ObjectiveConfig, ctx: Context) -> RowEncoder:
        """Load the tokenizer of the base."""
        template = ctx.blobs.get(model.identity.chat_template).decode()
        return cls(load_tokenizer(Path(model.witness.path), chat_template=template), train, objective)

    def encode_training(self, data: DatasetVersion, ctx: Context) -> FittedRows[Example]:
        """Encode every training row, none of them bad.

        Raises:
            DataError: one problem a bad row, the first twenty shown; E-TXT-009 for rows too long under ``refuse``.
        """
        split = data.identity.splits["train"]
        rows = ctx.blobs.get_rows(split.blob)  # one at a time: what is kept of a row are its tokens
        with ctx.progress.task("render rows", total=split.num_rows, unit="rows") as bar:
            fitted = self._fit(rows, too_long=self.train.too_long, on_row=bar.advance)
        fitted.encoded.raise_problems()
        for reason in tell_dropped(fitted, self.train):
            ctx.progress.say(reason.reason)
        return fitted

    def sample_scored(self, data: DatasetVersion, probes: Iterable[Row], ctx: Context) -> Scored:
        """Encode what is scored beside the training rows, of many validation rows the first 256."""
        split = data.identity.splits.get("validation")
        num_validation = split.num_rows if split is not None and self.train.evaluations else 0
        sample = islice(ctx.blobs.get_rows(split.blob), SAMPLE_ROWS) if split is not None and num_validation else ()
        scored = fit_rows(probes, self.tokenizer, train_on="all", max_length=self.train.max_length, too_long="drop")
        return Scored(
            validation=self._fit(sample, too_long="drop").encoded.rows,
            num_validation=num_validation,
            probes=scored.encoded.rows,
        )

    def _fit(
        self, rows: Iterable[Row], *, too_long: TooLong, on_row: Callable[[], None] | None = None
    ) -> FittedRows[Example]:
        fit: Callable[..., FittedRows[Example]] = fit_pairs
        if PREFERENCE not in self.objective.ROW_KINDS:
            fit = partial(fit_rows, train_on=getattr(self.objective, "train_on", "assistant"))
        return fit(rows, self.tokenizer, max_length=self.train.max_length, too_long=too_long, on_row=on_row)


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
